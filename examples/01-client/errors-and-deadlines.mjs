// Every failure is an OnehopError with a code; deadlines are per request, in milliseconds.
import { Client, OnehopError } from 'onehop';

const client = new Client({ retries: 0 });

try {
  await client.get('http://127.0.0.1:1/');
} catch (error) {
  console.log(error instanceof OnehopError, error.code, error.phase);
}

const upstream = process.env.UPSTREAM ?? 'http://127.0.0.1:8000';
try {
  await client.get(`${upstream}/v1/models`, {
    headers: { 'x-mock-fault': 'silence' },
    headTimeoutMs: 100,
  });
} catch (error) {
  console.log(error.code);
}

const controller = new AbortController();
const request = client.get(`${upstream}/v1/models`, { signal: controller.signal });
controller.abort(new Error('the user left'));
await request.catch((error) => console.log(error.message));

client.destroy();
//> true CONNECT_REFUSED connect
//> HEAD_TIMEOUT
//> the user left
