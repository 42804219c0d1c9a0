export {
  type StudyUpstream,
  type StudyUpstreamOptions,
  startStudyUpstream,
  type UpstreamCounters,
} from './study.ts';
