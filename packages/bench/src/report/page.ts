/** Style sheet and script of the page. Nothing is loaded: no fonts, no images, no libraries. */
import { DARK, declarations, LIGHT } from './theme.ts';

const light = declarations(LIGHT);
const dark = declarations(DARK);

export const STYLE = `
:root{color-scheme:light dark;${light}}
@media (prefers-color-scheme:dark){:root{${dark}}}
@media print{:root{color-scheme:light;${light}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--text);font:16px/1.55 Inter,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
main,header,footer{max-width:1128px;margin:0 auto;padding:0 24px}
header{padding-top:40px}
h1{font-size:15px;font-weight:600;letter-spacing:.02em;color:var(--soft);margin:0 0 12px}
h2{font-size:22px;line-height:1.25;margin:56px 0 6px;letter-spacing:-.01em}
h3{font-size:17px;line-height:1.3;margin:36px 0 4px}
p{margin:6px 0}
a{color:var(--node)}
.verdict{font-size:25px;line-height:1.36;font-weight:600;letter-spacing:-.012em;margin:0 0 18px;max-width:34em;text-wrap:pretty}
.tone{display:inline-block;font-size:13px;font-weight:600;padding:2px 10px;border-radius:99px;border:1.5px solid currentColor;margin-bottom:10px}
.tone-decided{color:var(--good)}.tone-tied{color:var(--node)}.tone-undecided{color:var(--bun)}
.note{color:var(--soft);font-size:14.5px;max-width:46em;margin-bottom:12px}
ul{margin:6px 0;padding-left:20px}li{margin:4px 0;max-width:50em}
.questions{display:grid;grid-template-columns:repeat(auto-fit,minmax(270px,1fr));gap:16px;margin:22px 0 0;padding:0}
.questions>div{background:var(--panel);border-radius:8px;padding:14px 16px;font-size:14.5px}
.questions dt{font-weight:600;margin-bottom:4px}.questions dd{margin:0;overflow-wrap:break-word}
.strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(180px,1fr));gap:10px 24px;margin:14px 0;font-size:14.5px}
.strip dt{color:var(--soft);font-size:12.5px}.strip dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:10px 0 4px;border-radius:8px;border:1px solid var(--line)}
.scroll:focus-visible{outline:2px solid var(--node);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:13px;line-height:1.3}
th,td{padding:7px 9px;text-align:left;vertical-align:top;white-space:nowrap;border-bottom:1px solid var(--line)}
tr:last-child td{border-bottom:0}
th{font-weight:600;background:var(--panel);vertical-align:bottom}
th small,td small{display:block;font-weight:400;color:var(--soft);font-size:11.5px}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--node)}
th[aria-sort=ascending] button::after{content:" ↑"}th[aria-sort=descending] button::after{content:" ↓"}
.n{text-align:right}
.good{color:var(--good)}.bad{color:var(--bad)}.soft{color:var(--soft)}
#league td:nth-child(2),#cells td:nth-child(2),#files td:first-child{font-weight:600}
#gates td{white-space:normal;min-width:8em}
figure{margin:36px 0}
figcaption h3{margin:0 0 4px}
svg{display:block;width:100%;height:auto;max-width:1040px;font-family:inherit}
.narrow{display:none}.narrow svg{max-width:480px}
pre{background:var(--panel);border-radius:8px;padding:12px 14px;overflow-x:auto;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
details{border:1px solid var(--line);border-radius:8px;padding:0 14px;margin:10px 0}
details[open]{padding-bottom:12px}
summary{cursor:pointer;padding:9px 0;font-weight:600;font-size:14.5px}
footer{color:var(--soft);font-size:13px;padding-top:40px;padding-bottom:48px}
@media (max-width:700px){
main,header,footer{padding-left:16px;padding-right:16px}
header{padding-top:24px}
.verdict{font-size:20px}.note{font-size:14px}
#gates,#gates tbody,#gates tr,#gates td{display:block}#gates thead{position:absolute;clip-path:inset(50%)}
#gates tr{display:grid;grid-template-columns:1fr auto;gap:0 8px;padding:7px 9px;border-bottom:1px solid var(--line)}#gates tr:last-child{border-bottom:0}
#gates td{padding:1px 0;border:0;min-width:0;overflow-wrap:anywhere}#gates td:first-child{font-weight:600}#gates td:nth-child(n+3){grid-column:1/-1}#gates td:nth-child(4)::before{content:"asked: "}
th,td{padding:6px 7px}#league td:nth-child(2){white-space:normal;overflow-wrap:break-word;min-width:8.6em;max-width:10em}
h2{font-size:20px;margin-top:44px}
.wide{display:none}.narrow{display:block}
}
@media print{
body{font-size:10pt}main,header,footer{max-width:none}
figure,tr,.questions>div{break-inside:avoid}h2,h3{break-after:avoid}
.scroll{overflow:visible;border:0}table{font-size:7pt}th,td{padding:2px 3px;white-space:normal}th small,td small{font-size:85%}
#league{font-size:5.8pt}#league td.n,#league td small{white-space:nowrap}
.raw details:not([open]){display:none}
}`;

/** Sorts a table by the clicked column. Everything can be read without it. */
export const SCRIPT = `
for (const table of document.querySelectorAll('table[data-sort]')) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') !== 'ascending';
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = (row) => row.cells[index].dataset.v ?? row.cells[index].textContent;
      const numeric = [...body.rows].every((row) => row.cells[index].dataset.v !== undefined);
      const compare = numeric
        ? (a, b) => (Number(key(a)) === Number(key(b)) ? 0 : Number(key(a)) - Number(key(b)))
        : (a, b) => key(a).localeCompare(key(b));
      body.append(...[...body.rows].sort((a, b) => (up ? compare(a, b) : compare(b, a))));
    });
  });
}`;
