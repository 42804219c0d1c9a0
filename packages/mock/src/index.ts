export { FAULTS, type Fault, type FaultName, parseFault } from './faults.ts';
export { type LatencySpec, parseLatency } from './latency.ts';
export { type OpenAiServiceOptions, startOpenAiService } from './openai.ts';
export { type PlainServiceOptions, startPlainService } from './plain.ts';
export type { SeenAbort, Service, ServiceCounters, ServiceOptions } from './service.ts';
export {
  type StudyUpstream,
  type StudyUpstreamOptions,
  startStudyUpstream,
  type UpstreamCounters,
} from './study.ts';
