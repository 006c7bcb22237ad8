/** The adapter, as the public surface describes it. */

/** What the adapter says of itself. */
export interface DeviceInfo {
  vendor: string;
  architecture: string;
  description: string;
  /** `vulkan`, `metal`, `d3d12` where it is known, else `webgpu`. */
  backend: string;
  /** Features the adapter offers. */
  features: string[];
  /** A software adapter: right results, but its speed says nothing of a GPU. */
  software: boolean;
  /** Smallest subgroup the device may choose, where it has subgroups and tells. */
  subgroupMinSize?: number;
  limits: {
    maxBufferSize: number;
    maxStorageBufferBindingSize: number;
    maxComputeWorkgroupStorageSize: number;
    maxComputeInvocationsPerWorkgroup: number;
  };
}
