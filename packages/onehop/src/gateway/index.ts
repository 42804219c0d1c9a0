export { AccessLog, accessLine } from './access-log.ts';
export { AdminServer, type AdminSources } from './admin.ts';
export { type ListenAddress, parseListenAddress, type TargetAddress } from './config/address.ts';
export { type ConfigProblem, type ConfigResult, checkConfig, parseConfig } from './config/load.ts';
export { readText, reasonOf } from './config/read-text.ts';
export {
  type GatewayConfig,
  type GatewayConfigInput,
  gatewayJsonSchema,
  type RouteConfig,
  type TargetConfig,
  type UpstreamConfig,
} from './config/schema.ts';
export type { GatewayExchange } from './exchange.ts';
export { type ExplainedRequest, type Explanation, explainRequest } from './explain.ts';
export { createGateway, type DrainOptions, Gateway, type GatewayOptions } from './gateway.ts';
export { LIMITS, type LimitReport, type LimitSpec, reportEveryMs } from './limits/index.ts';
export { type GatewayObserver, silentObserver } from './observer.ts';
export { MetricsObserver, type MetricsOptions, runtimeName } from './observer-metrics.ts';
export { connectionsCeilingFor, connectionsMaxFor, openFilesMax } from './process-gauges.ts';
export { gatewayStatus, type ProcessFacts, type ReloadResult } from './status.ts';
