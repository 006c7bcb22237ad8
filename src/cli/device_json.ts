/** The device that a generation ran on, for `--json` and `--trace`. */

import type { DeviceInfo } from "../index.ts";

export function deviceJson({ vendor, architecture, backend, features, description, software }: DeviceInfo): object {
  return { vendor, architecture, backend, features, description, software };
}
