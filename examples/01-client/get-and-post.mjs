// Requests with promises; the connections are kept and used again.
import { Client } from 'onehop';

const client = new Client({ baseUrl: process.env.UPSTREAM ?? 'http://127.0.0.1:8000' });

const models = await (await client.get('/v1/models')).json();
console.log('models:', models.data.map(({ id }) => id).join());

const answer = await client.post('/v1/chat/completions', {
  json: { model: 'mock', messages: [{ role: 'user', content: 'hello' }] },
  totalTimeoutMs: 30_000,
});
console.log(answer.status, answer.headers.get('content-type'));
const { usage } = await answer.json();
console.log('tokens:', usage.completion_tokens);

await client.close();
//> models: mock
//> 200 application/json
//> tokens: \d+
