import { transport } from 'onehop/transport';
import { createSimTransport } from 'onehop/transport/sim';
import { clientContract } from './client.contract.ts';

clientContract(transport.name, () => transport);

let seed = 1;
clientContract('sim', () => createSimTransport({ seed: seed++ }));
