// Server-sent events as they come. Leaving the loop early ends the request at the server, too.
import { Client } from 'onehop';

const client = new Client({ baseUrl: process.env.UPSTREAM ?? 'http://127.0.0.1:8000' });

const response = await client.post('/v1/chat/completions', {
  json: { model: 'mock', stream: true, messages: [{ role: 'user', content: 'hello' }] },
});
let text = '';
for await (const { data } of response.sse()) {
  if (data === '[DONE]') break;
  text += JSON.parse(data).choices[0].delta.content ?? '';
}
console.log('words:', text.split(' ').length);

await client.close();
//> words: \d+
