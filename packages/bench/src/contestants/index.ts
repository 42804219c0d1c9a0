export { chatBody, chatPath, chatPrompt } from './chat/request.ts';
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
  chatContestantNames,
  contestantNames,
  contestantSource,
  contestantVersion,
  currentRuntime,
  loadChatContestant,
  loadChatContestants,
  loadContestant,
  loadContestants,
} from './registry.ts';
export type {
  ChatContestant,
  ChatForwarder,
  Contestant,
  ContestantInfo,
  Forwarder,
  ForwarderOptions,
  ReuseMode,
  Runtime,
  UpstreamProtocol,
} from './types.ts';
