export { entryId } from './entry-id.ts';
export { describeFailure, UpstreamBodyError, UpstreamStatusError } from './failure.ts';
export {
  type PythonPeer,
  type PythonPeers,
  pythonLaunchCommand,
  pythonPeers,
  pythonSource,
} from './python.ts';
export {
  contestantNames,
  contestantSource,
  contestantVersion,
  currentRuntime,
  loadContestant,
  loadContestants,
} from './registry.ts';
export type {
  Contestant,
  ContestantInfo,
  Forwarder,
  ForwarderOptions,
  ReuseMode,
  Runtime,
  UpstreamProtocol,
} from './types.ts';
