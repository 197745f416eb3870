/**
 * The part of RunPod's GraphQL schema that its clients use, with the names they declare variables by. Wider than that where clients differ:
 * `Text` takes what may be a string, an enum or a number.
 */
export const DEFINITION = /* GraphQL */ `
scalar Text
scalar Anything
scalar Nothing

type Query {
  myself: User
  gpuTypes(input: GpuTypeFilter): [GpuType!]!
  serverlessGpuPools: [GpuPool!]!
  dataCenters: [DataCenter!]!
  podTemplates(input: PodTemplateInput): [PodTemplate!]!
  podTemplate(id: String!): PodTemplate
}

type Mutation {
  saveTemplate(input: SaveTemplateInput): PodTemplate!
  deleteTemplate(templateName: String): Nothing
  saveEndpoint(input: EndpointInput!): Endpoint!
  deleteEndpoint(id: String!): Nothing
  updateEndpointTemplate(input: UpdateEndpointTemplateInput): Endpoint!
  saveRegistryAuth(input: SaveRegistryAuthInput!): RegistryAuth!
  updateRegistryAuth(input: UpdateRegistryAuthInput!): RegistryAuth!
  deleteRegistryAuth(registryAuthId: String): Nothing
}

type EnvironmentVariable { key: String! value: String }
type NetworkVolume { id: String name: String size: Int dataCenterId: String }
type EndpointVolume { networkVolumeId: String dataCenterId: String }
type Pod { id: String desiredStatus: String }
type Discount { discountFactor: Float type: String expirationDate: String }
type RegistryAuth { id: String! name: String! username: String }

type User {
  id: String! pubKey: String email: String
  clientBalance: Float currentSpendPerHr: Float spendLimit: Float
  notifyPodsStale: Boolean notifyPodsGeneral: Boolean notifyLowBalance: Boolean
  serverlessDiscount: Discount
  endpoints: [Endpoint!]!
  podTemplates: [PodTemplate!]!
  containerRegistryCreds: [RegistryAuth!]!
  networkVolumes: [NetworkVolume!]!
  pods: [Pod!]!
}

type Endpoint {
  id: String! name: String! userId: String type: String aiKey: String createdAt: String version: Int
  templateId: String template: PodTemplate env: [EnvironmentVariable!]!
  gpuIds: String gpuCount: Int instanceIds: [String] computeType: String
  networkVolumeId: String networkVolume: NetworkVolume networkVolumeIds: [EndpointVolume] locations: String
  idleTimeout: Float scalerType: String scalerValue: Float
  workersMin: Int workersMax: Int workersStandby: Int workersPFBTarget: Int
  executionTimeoutMs: Float flashBootType: String
  minCudaVersion: String allowedCudaVersions: String modelReferences: [String] compliance: [Anything]
  activeBuildid: String idePodId: String flashEnvironmentId: String
  pods: [Pod!]!
}

type PortConfig { port: String name: String }
type PodTemplate {
  id: String! name: String! imageName: String! userId: String category: String
  isServerless: Boolean isPublic: Boolean isRunpod: Boolean boundEndpointId: String
  dockerArgs: String containerDiskInGb: Int containerRegistryAuthId: String
  volumeInGb: Int volumeMountPath: String ports: String portsConfig: [PortConfig!]
  env: [EnvironmentVariable!]! readme: String
  advancedStart: Boolean startJupyter: Boolean startScript: String startSsh: Boolean
}

type LowestPrice { minimumBidPrice: Float uninterruptablePrice: Float stockStatus: String }
type GpuType {
  id: String! displayName: String! memoryInGb: Int! manufacturer: String maxGpuCount: Int cudaCores: Int
  secureCloud: Boolean communityCloud: Boolean securePrice: Float communityPrice: Float
  oneWeekPrice: Float oneMonthPrice: Float threeMonthPrice: Float communitySpotPrice: Float secureSpotPrice: Float
  lowestPrice(input: Anything): LowestPrice
}
type GpuPool { id: String! gpuTypeIds: [String!]! }
type GpuAvailability { gpuTypeId: String displayName: String stockStatus: String }
type DataCenter { id: String! name: String! location: String gpuAvailability: [GpuAvailability!]! }

input EnvironmentVariableInput { key: String! value: Text }
input EndpointVolumeInput { networkVolumeId: String dataCenterId: String }
input GpuTypeFilter { id: String ids: [String] }
input PodTemplateInput { id: String name: String isServerless: Boolean isPublic: Boolean isRunpod: Boolean category: String }

input SaveTemplateInput {
  id: String name: String imageName: String dockerArgs: String
  containerDiskInGb: Int containerRegistryAuthId: String volumeInGb: Int volumeMountPath: String
  ports: Text env: [EnvironmentVariableInput!] category: String
  isServerless: Boolean isPublic: Boolean readme: String config: Anything
  advancedStart: Boolean startJupyter: Boolean startScript: String startSsh: Boolean
}

input EndpointInput {
  id: String name: String type: Text
  templateId: String template: SaveTemplateInput hubReleaseId: String
  gpuIds: String gpuCount: Int instanceIds: [String] computeType: Text
  networkVolumeId: String networkVolumeIds: [EndpointVolumeInput] locations: Text
  idleTimeout: Float scalerType: Text scalerValue: Float
  workersMin: Int workersMax: Int workersStandby: Int workersPFBTarget: Int
  executionTimeoutMs: Float flashBootType: Text
  minCudaVersion: Text allowedCudaVersions: Text modelReferences: [String] compliance: [Anything]
  activeBuildid: String idePodId: String flashEnvironmentId: String userId: String
}

input UpdateEndpointTemplateInput { templateId: String! endpointId: String id: String }
input SaveRegistryAuthInput { name: String! username: String! password: String! }
input UpdateRegistryAuthInput { id: String! username: String! password: String! }
`;
