import { transport } from 'onehop/transport';
import { serverContract } from './server.contract.ts';
import { serverFaultContract } from './server-faults.contract.ts';
import { runtimeRig } from './server-rig.ts';

serverContract(transport.name, () => runtimeRig(transport));
serverFaultContract(transport.name, () => runtimeRig(transport));
