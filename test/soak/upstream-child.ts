/**
 * Stand-ins in a process of its own, so that it can be killed: a plain one and one that streams.
 * `upstream-child.js PLAIN_PORT MODEL_PORT`; says both ports in one line.
 */
import { startOpenAiService, startPlainService } from '@onehop/mock';

const [plainPort = 0, modelPort = 0] = process.argv.slice(2).map(Number);
const plain = await startPlainService({
  port: plainPort,
  latency: { kind: 'uniform', minMs: 0, maxMs: 10 },
});
const model = await startOpenAiService({
  port: modelPort,
  tokens: 20,
  firstToken: { kind: 'fixed', ms: 20 },
  tokenGap: { kind: 'fixed', ms: 20 },
});
console.log(`${plain.port} ${model.port}`);
process.stdin.on('end', () => process.exit(0)).resume();
