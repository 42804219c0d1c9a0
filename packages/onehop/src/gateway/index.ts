export { type ListenAddress, parseListenAddress, type TargetAddress } from './config/address.ts';
export { type ConfigProblem, type ConfigResult, checkConfig, parseConfig } from './config/load.ts';
export {
  type GatewayConfig,
  type GatewayConfigInput,
  gatewayJsonSchema,
  type RouteConfig,
  type TargetConfig,
  type UpstreamConfig,
} from './config/schema.ts';
export type { GatewayExchange } from './exchange.ts';
export { createGateway, Gateway, type GatewayOptions } from './gateway.ts';
export { type GatewayObserver, silentObserver } from './observer.ts';
