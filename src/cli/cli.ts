/** The commands of `layerleap`, their options and their help. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, Option } from "commander";
import type { Dtype } from "../types.ts";
import type { BenchDecodeFlags } from "./bench.ts";
import type { BenchDraftersFlags } from "./bench_drafters.ts";
import type { BenchKernelsFlags, BenchPositionsFlags, BenchPrefillFlags } from "./bench_kernels.ts";
import type { BenchSeveralFlags } from "./bench_several.ts";
import type { CalibrateFlags } from "./calibrate.ts";
import type { ExitsFlags } from "./exits.ts";
import { addGenerateOptions, checkGenerateFlags, type GenerateFlags } from "./generate_options.ts";
import type { InspectFlags } from "./inspect.ts";
import { relaunch } from "./launch.ts";
import type { ListFlags } from "./models.ts";
import {
  controllerList,
  integers,
  kernelOptions,
  modelSource,
  number,
  positiveInteger,
  type SourceFlags,
  wholeNumber,
} from "./options.ts";
import { EXIT } from "./output.ts";
import { report, UsageError } from "./report.ts";
import type { ScoreFlags } from "./score.ts";

const MODEL = [
  "--model <model>",
  "hf:owner/name[@revision][/file], or a folder, .gguf file or URL of a model (default: the embedded one)",
] as const;

const DTYPES: readonly Dtype[] = ["f32", "f16", "q8", "q4"];

/** Variants of kernels by name, where the device's own choice is not wanted. */
const kernels = () =>
  new Option(
    "--kernels <list>",
    "variants to force, as in fewRows=workgroup:8,manyRows=tiles,attention=workgroup,promptAttention=tiles,kv=f16",
  ).argParser(kernelOptions);

/** The option of every command that loads a model. */
const dtype = () =>
  new Option(
    "--dtype <type>",
    "what the GPU holds weights in: 4, 2, 1.1 or 0.6 bytes each; auto: as a GGUF file has them, or what there is memory for",
  )
    .choices(["auto", ...DTYPES])
    .default("auto");

/** The option of measurements on random weights, which no file or memory tells a type for. */
const fixedDtype = () =>
  new Option("--dtype <type>", "what the GPU holds weights in: 4, 2, 1.1 or 0.6 bytes each")
    .choices(DTYPES)
    .default("q4");

/** How long prompt and answer may be together. */
const context = () =>
  new Option(
    "--context-length <n>",
    "tokens of prompt and answer (default: the model's limit, at most 4,096)",
  ).argParser(positiveInteger);

/** What drafts for a model that was not trained for it. */
const exitAdapter = () =>
  new Option(
    "--exit-adapter <source>",
    "an exit adapter to draft with: a file, hf:owner/name/file or a URL (default: the one in the model's folder)",
  );

const noExitAdapter = () => new Option("--no-exit-adapter", "none, though one lies in the model's folder");

/** The options of a command that loads a model. */
function modelOptions(command: Command): Command {
  return command
    .option(...MODEL)
    .addOption(endpoint())
    .addOption(dtype())
    .addOption(context());
}

/** The same of a command that drafts with it. */
function draftingModelOptions(command: Command): Command {
  return modelOptions(command).addOption(exitAdapter()).addOption(noExitAdapter());
}

/** The hub that names are looked up at. */
const endpoint = () =>
  new Option("--endpoint <url>", "the hub or its mirror (default: HF_ENDPOINT, else huggingface.co)");

/** Whose layers' shape is measured. */
const shape = () =>
  new Option("--shape <name>", "a model's shape, with random weights (stories260K: the embedded model's)").default(
    "SmolLM2-135M",
  );

/**
 * Runs a command line (without the program's name).
 *
 * Arguments are read first, so that help and usage errors need neither a GPU nor the engine; the engine is imported only
 * in the process that computes.
 *
 * @returns the exit code: 0, 1 for a failure, 2 for a wrong call, 128 + n after a signal
 */
export async function run(args: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.success;
  const compute = async (model: string | undefined, command: () => Promise<number>, withoutDriver = false) => {
    modelSource(model);
    exitCode = (await relaunch(withoutDriver)) ?? (await command());
  };
  const program = new Command("layerleap")
    .description("Runs language models on WebGPU that draft for themselves (LayerSkip self-speculative decoding).")
    .version(version(), "-V, --version", "show the version")
    .helpOption("-h, --help", "show this help")
    .helpCommand("help [command]", "explain a command")
    // One line says it all: `report` prints it, and ends it with what to do.
    .configureOutput({ outputError: () => {} })
    .exitOverride()
    .addHelpText(
      "after",
      "\nExample:\n  layerleap generate \"Once upon a time\"\n\n'layerleap COMMAND --help' explains a command.",
    );

  const generate = draftingModelOptions(
    program
      .command("generate")
      .description("Continues a prompt. The text streams to stdout, a summary of one line goes to stderr.")
      .optionsGroup("Model:"),
  )
    .argument("[PROMPT]", "text to continue; - reads it from stdin (one line end at its end is left out)")
    .addOption(kernels());
  addGenerateOptions(generate)
    .addHelpText(
      "after",
      `
Examples:
  layerleap generate "Once upon a time"
  layerleap generate "Once upon a time" --drafter none --max-tokens 64
  layerleap generate "Once upon a time" --dtype q4
  layerleap generate "Once upon a time" --temperature 0.8 --top-p 0.95 --seed 7
  layerleap generate "Once upon a time" --stop "The end" --stop $'\\n\\n' --time-limit 10
  layerleap generate --ids 1,403,407,261,378 --exit-layer 2 --draft-length 4 --json
  layerleap generate "Once upon a time" --drafter layerskip --controller del --trace rounds.jsonl
  echo "Tom and Lily" | layerleap generate -
  layerleap generate --model hf:HuggingFaceTB/SmolLM2-135M-Instruct --chat "What is gravity?"
  layerleap generate --model ./my-chat-model.gguf --system "Answer in one sentence." "What is gravity?"

The drafter changes the speed, never the text (but with --accept-rule ratio). A smaller dtype may change the text too.
--stop takes its text as it is: in bash and zsh $'\\n' is a line end.`,
    )
    .action(async (prompt: string | undefined, flags: GenerateFlags) => {
      checkGenerateFlags(prompt, flags);
      await compute(flags.model, async () => (await import("./generate.ts")).generate(prompt, flags));
    });

  modelOptions(program.command("score").description("Computes the logits at positions of a token sequence."))
    .requiredOption("--ids <list>", "the token ids, as they are: no BOS is added", integers)
    .option("--at <list>", "positions, from 0 (default: all)", integers)
    .option("--exit-layer <n>", "logits of the first n layers instead of the full model's", positiveInteger)
    .addOption(kernels())
    .option("--json", "one JSON object on stdout instead of the likeliest tokens: ids, at, logits")
    .addHelpText(
      "after",
      `
Examples:
  layerleap score --ids 1,403,407,261,378
  layerleap score --ids 1,403,407 --at 0,2 --exit-layer 2 --json`,
    )
    .action(async (flags: ScoreFlags) => {
      await compute(flags.model, async () => (await import("./score.ts")).score(flags));
    });

  modelOptions(
    program
      .command("calibrate")
      .description("Fits an exit adapter to a model, so that its first layers draft better; it is written to a file."),
  )
    .option("--text <file>", "text like that which will be generated (default: the model writes it itself)")
    .option("--exit-layer <n>", "layers that draft (default: what promises most for its price)", positiveInteger)
    .option("--max-tokens <n>", "tokens of the text that are used at most", positiveInteger, 4096)
    .option("--out <file>", "where the adapter goes", "exit-adapter.safetensors")
    .option("--json", "one JSON object on stdout instead of a table")
    .addHelpText(
      "after",
      `
Examples:
  layerleap calibrate --model hf:HuggingFaceTB/SmolLM2-135M-Instruct --text notes.txt --out notes.safetensors
  layerleap generate --model hf:HuggingFaceTB/SmolLM2-135M-Instruct --exit-adapter notes.safetensors "Dear diary"`,
    )
    .action(async (flags: CalibrateFlags) => {
      await compute(flags.model, async () => (await import("./calibrate.ts")).calibrate(flags));
    });

  draftingModelOptions(
    program
      .command("exits")
      .description("Shows how often a model's layers say what the whole model does, alone and with an exit adapter."),
  )
    .option("--text <file>", "the text whose positions are compared (default: the model writes it itself)")
    .option("--ids <list>", "token ids instead of a text, as they are: no BOS is added", integers)
    .option("--from <n>", "position from which on exits are compared (default: 0)", wholeNumber)
    .option("--exit-layers <list>", "layers to compare (default: all)", integers)
    .option("--max-tokens <n>", "tokens of the text that are used at most", positiveInteger, 256)
    .option("--json", "one JSON object on stdout instead of a table")
    .addHelpText(
      "after",
      "\nExamples:\n  layerleap exits\n  layerleap exits --model ./my-model.gguf --exit-adapter mine.safetensors --text notes.txt",
    )
    .action(async (flags: ExitsFlags) => {
      await compute(flags.model, async () => (await import("./exits.ts")).exits(flags));
    });

  modelOptions(
    program
      .command("inspect")
      .description(
        "Shows whether a model runs here, what it takes, and what the device offers. Only the headers of its files are fetched.",
      ),
  )
    .addOption(kernels())
    .option("--load", "loads it too, as --dtype and --kernels say, and shows what it holds and how long that took")
    .option("--json", "one JSON object on stdout instead of tables")
    .addHelpText(
      "after",
      `
Examples:
  layerleap inspect --model hf:HuggingFaceTB/SmolLM2-135M
  layerleap inspect --model ./my-model.gguf --load --json

It ends with exit code 1 where the model is not supported.`,
    )
    .action(async (flags: InspectFlags, command: Command) => {
      const unused = ["dtype", "kernels"].find((name) => command.getOptionValueSource(name) === "cli");
      if (unused && !flags.load) throw new UsageError(`--${unused} says how a model is loaded: add --load`);
      await compute(flags.model, async () => (await import("./inspect.ts")).inspect(flags), !flags.load);
    });

  const models = program.command("models").description("Shows, fetches and removes downloaded models.");

  models
    .command("list")
    .description("Shows the models in the cache, and what they take.")
    .option("--json", "one JSON object on stdout instead of a table")
    .addHelpText(
      "after",
      "\nExamples:\n  layerleap models list\n  LAYERLEAP_CACHE=/data/models layerleap models list --json",
    )
    .action(async (flags: ListFlags) => {
      exitCode = await (await import("./models.ts")).list(flags);
    });

  models
    .command("pull")
    .description("Downloads a model into the cache. A download that was broken off goes on where it stopped.")
    .argument("<MODEL>", "hf:owner/name[@revision][/file.gguf], or a URL")
    .addOption(endpoint())
    .addHelpText(
      "after",
      `
Examples:
  layerleap models pull hf:HuggingFaceTB/SmolLM2-135M
  HF_TOKEN=hf_... layerleap models pull hf:meta-llama/Llama-3.2-1B`,
    )
    .action(async (model: string, flags: SourceFlags) => {
      exitCode = await (await import("./models.ts")).fetchModel(model, flags);
    });

  models
    .command("remove")
    .description("Removes a model from the cache, all its revisions.")
    .argument("<MODEL>", "the model as `models list` names it")
    .addOption(endpoint())
    .addHelpText("after", "\nExample:\n  layerleap models remove hf:HuggingFaceTB/SmolLM2-135M")
    .action(async (model: string, flags: SourceFlags) => {
      exitCode = await (await import("./models.ts")).remove(model, flags);
    });

  const bench = program.command("bench").description("Measures on this device.");

  draftingModelOptions(
    bench
      .command("decode")
      .description("Compares plain decoding with drafting, run in turn; prints the median speed-up of each plan."),
  )
    .addOption(kernels())
    .option("--prompt <text>", "text to continue", "Once upon a time")
    .option("--max-tokens <n>", "tokens of a run", positiveInteger, 128)
    .option("--repetitions <n>", "runs of each plan, interleaved", positiveInteger, 5)
    .option("--exit-layers <list>", "exit layers to compare (default: all)", integers)
    .option("--draft-lengths <list>", "draft lengths to compare (default: 2,4,8)", integers)
    .option("--controllers <list>", "controllers to compare, or none (default: all that choose)", controllerList)
    .option(
      "--hot-vocabularies <list>",
      "numbers of hot ids to compare, with the first exit layer and draft length",
      integers,
    )
    .option("--temperature <n>", "sample with seed 1 (default: greedy)", number)
    .option("--json", "one JSON object on stdout instead of a table")
    .addHelpText("after", "\nExample:\n  layerleap bench decode --exit-layers 2 --draft-lengths 4,8 --repetitions 7")
    .action(async (flags: BenchDecodeFlags) => {
      await compute(flags.model, async () => (await import("./bench.ts")).bench(flags));
    });

  draftingModelOptions(
    bench
      .command("drafters")
      .description("Compares drafters on a continuation, a summary, an edit, code and a chat; one prefill a prompt."),
  )
    .option("--draft-model <source>", "a second, smaller model with the same tokenizer, to be compared too")
    .option("--drafters <list>", "which are compared, beside plain decoding (default: all)", (list) => list.split(","))
    .option("--exit-layer <n>", "layers that draft (default: the model's own)", positiveInteger)
    .option("--draft-length <n>", "drafts of layers and of a second model (default: the model's own)", positiveInteger)
    .option("--tree-sizes <list>", "rows of trees (default: 7,15)", integers)
    .option(
      "--prompts <file>",
      "JSON with cases, each a name and a prompt (a text, ids or messages), instead of the five",
    )
    .option("--max-tokens <n>", "new tokens a prompt", positiveInteger, 32)
    .option("--repetitions <n>", "runs of each drafter, interleaved", positiveInteger, 3)
    .option("--json", "one JSON object on stdout instead of tables")
    .addHelpText("after", "\nExample:\n  layerleap bench drafters --tree-sizes 7 --repetitions 5")
    .action(async (flags: BenchDraftersFlags) => {
      await compute(flags.model, async () => (await import("./bench_drafters.ts")).benchDraftersCommand(flags));
    });

  modelOptions(
    bench
      .command("several")
      .description("Compares several texts at a time, their rounds packed into passes, with the same one by one."),
  )
    .option("--texts <list>", "numbers of texts at a time, at most 8 (default: 2,4,8)", integers, [2, 4, 8])
    .option("--exit-layer <n>", "layers that draft (default: the model's own)", positiveInteger)
    .option("--draft-length <n>", "drafts of layers (default: the model's own)", positiveInteger)
    .option("--max-tokens <n>", "new tokens a text", positiveInteger, 64)
    .option("--repetitions <n>", "runs both ways, in turn", positiveInteger, 5)
    .option("--json", "one JSON object on stdout instead of a table")
    .addHelpText("after", "\nExample:\n  layerleap bench several --texts 8 --max-tokens 128")
    .action(async (flags: BenchSeveralFlags) => {
      await compute(flags.model, async () => (await import("./bench_several.ts")).benchSeveralCommand(flags));
    });

  bench
    .command("kernels")
    .description("Times each kernel, as a fraction of what the device reaches with a plain copy and plain arithmetic.")
    .option(
      "--shapes <list>",
      "models' layer shapes, with random weights (stories260K: the embedded model's)",
      "SmolLM2-135M,Llama-3.2-1B,Qwen3-4B",
    )
    .addOption(fixedDtype())
    .option("--rows <list>", "numbers of generated rows (default: 1,2,4,5,8)", integers)
    .option("--repetitions <n>", "times each kernel is measured, all in turn", positiveInteger, 5)
    .option("--only <list>", "kernels to time (default: all; a comparison: those that differ)")
    .option("--compare <A,B>", "times two variants in pairs, such as fewRows=thread,fewRows=workgroup:8")
    .option("--json", "one JSON object on stdout instead of tables")
    .addHelpText(
      "after",
      `
Examples:
  layerleap bench kernels --shapes Llama-3.2-1B --rows 1,5
  layerleap bench kernels --compare attention=threads+kv=f16,attention=workgroup+kv=f16`,
    )
    .action(async (flags: BenchKernelsFlags) => {
      await compute(undefined, (await import("./bench_kernels.ts")).kernels(flags));
    });

  bench
    .command("positions")
    .description("Times plain steps at several positions: a token's cost should be a line of its position.")
    .addOption(shape())
    .addOption(fixedDtype())
    .option("--positions <list>", "positions of the token (default: 100,500,1000,2000,4000)", integers)
    .option("--repetitions <n>", "times each position is measured, all in turn", positiveInteger, 5)
    .option("--plot <file>", "writes a plot as SVG")
    .option("--json", "one JSON object on stdout instead of a table")
    .addHelpText("after", "\nExample:\n  layerleap bench positions --plot positions.svg")
    .action(async (flags: BenchPositionsFlags) => {
      await compute(undefined, (await import("./bench_kernels.ts")).positions(flags));
    });

  bench
    .command("prefill")
    .description("Times a prompt against as many plain steps.")
    .addOption(shape())
    .addOption(fixedDtype())
    .option("--tokens <n>", "tokens of the prompt", positiveInteger, 512)
    .option("--repetitions <n>", "times both are measured, in turn", positiveInteger, 5)
    .option("--json", "one JSON object on stdout instead of a table")
    .addHelpText("after", "\nExample:\n  layerleap bench prefill --tokens 256")
    .action(async (flags: BenchPrefillFlags) => {
      await compute(undefined, (await import("./bench_kernels.ts")).prefill(flags));
    });

  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    const command = program.commands.find((known) => known.name() === args[0]);
    const subcommand = command?.commands.find((known) => known.name() === args[1]);
    return report(error, ["layerleap", command?.name(), subcommand?.name(), "--help"].filter(Boolean).join(" "));
  }
}

/** package.json lies two folders up from here and from dist/node, which this is bundled into. */
function version(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"));
  return typeof parsed === "object" && parsed && "version" in parsed ? String(parsed.version) : "unknown";
}
