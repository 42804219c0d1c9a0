// The standard's fetch on this engine: nothing to set up, nothing to close.
import { fetch } from 'onehop';

const upstream = process.env.UPSTREAM ?? 'http://127.0.0.1:8000';

const response = await fetch(`${upstream}/v1/models`);
console.log(response.status, response instanceof Response);
console.log((await response.json()).data.length > 0);

try {
  await fetch('http://127.0.0.1:1/');
} catch (error) {
  console.log(error.name, error.message, error.cause.code);
}
//> 200 true
//> true
//> TypeError fetch failed CONNECT_REFUSED
