#!/usr/bin/env node
/** The command `layerleap`. */

import { run } from "./cli.ts";
import { finish, guardOutput } from "./output.ts";

guardOutput();
await finish(await run(process.argv.slice(2)));
