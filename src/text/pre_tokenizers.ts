/**
 * The pre-tokenizers of byte-level BPE, by the names that GGUF files give them (`tokenizer.ggml.pre`).
 *
 * A GGUF file has no pre-tokenizer, only its name. What a name stands for was looked up in the `tokenizer.json` of the
 * models that bear it where there was one to look at, and in llama.cpp (`src/llama-vocab.cpp`), which keeps the list of
 * names.
 */

/** How the text is cut into words, none of which a merge crosses. */
export interface PreTokenizer {
  /** Regular expressions in Oniguruma's syntax, as in `tokenizer.json`. Each cuts what the ones before it left. */
  splits: readonly string[];
  /** Text is composed (NFC) first. */
  nfc: boolean;
  /** A word that is a token is taken as it is, whatever the merges make of it. */
  ignoreMerges: boolean;
  /** Whether a BOS is added where the file does not say. */
  addBos: boolean;
}

const DIGIT = String.raw`\p{N}`;
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
/** What most have in common at the end: punctuation, with more of some characters after it, line ends, spaces. */
const rest = (after: string) => String.raw` ?[^\s\p{L}\p{N}]+[${after}]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
/** The pattern of GPT-4 (cl100k), with numbers cut in different ways. */
const gpt4 = (number: string) =>
  String.raw`${CONTRACTION}|[^\r\n\p{L}\p{N}]?\p{L}+|${number}|${rest(String.raw`\r\n`)}`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
/** The pattern of GPT-4o (o200k): a word ends before a capital. */
const gpt4o = (contraction: string, number: string) =>
  [
    String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+${contraction}`,
    String.raw`[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*${contraction}`,
    number,
    rest(String.raw`\r\n/`),
  ].join("|");
const UP_TO_3_DIGITS = String.raw`\p{N}{1,3}`;
const HAN_AND_HANGUL = "[一-龥ࠀ-一가-퟿]+";

type Entry = Partial<PreTokenizer> & { names: readonly string[]; splits: readonly string[] };

const ENTRIES: readonly Entry[] = [
  // Llama 3, and what was made from its tokenizer. SmolLM3's is called smaug-bpe: it is Llama 3's and adds no BOS.
  {
    names: ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
    splits: [gpt4(UP_TO_3_DIGITS)],
    ignoreMerges: true,
    addBos: true,
  },
  { names: ["smaug-bpe"], splits: [gpt4(UP_TO_3_DIGITS)], ignoreMerges: true },
  // OLMo 2 and Phi-4 among them.
  { names: ["dbrx", "glm4", "chatglm-bpe"], splits: [gpt4(UP_TO_3_DIGITS)] },
  // Qwen 2, 2.5 and 3.
  { names: ["qwen2"], splits: [gpt4(DIGIT)], nfc: true },
  { names: ["deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "grok-2"], splits: [gpt4(DIGIT)] },
  // Mistral NeMo and later.
  { names: ["tekken"], splits: [gpt4o("", DIGIT)], ignoreMerges: true, addBos: true },
  // Phi-4-mini among them.
  { names: ["gpt-4o", "llama4", "kanana2"], splits: [gpt4o(`${CONTRACTION}?`, UP_TO_3_DIGITS)] },
  // SmolLM 1 and 2; refact is Granite 3's.
  {
    names: ["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"],
    splits: [DIGIT, GPT2],
  },
  { names: ["command-r"], splits: [DIGIT, GPT2], nfc: true },
  {
    names: ["gpt-2", "phi-2", "jais", "exaone4", "mellum", "gigachat", "a.x-4.0", "trillion", "granite-docling"],
    splits: [GPT2],
  },
  { names: ["olmo", "mpt"], splits: [GPT2], nfc: true },
  { names: ["falcon"], splits: [String.raw`[\p{P}$+<=>^~|${"`"}]+`, GPT2, "[0-9][0-9][0-9]"] },
  {
    names: ["deepseek-llm"],
    splits: [
      "[\r\n]",
      String.raw`\s?[\p{Lu}\p{Ll}\p{Lt}]+`,
      String.raw`\s?[!-/:-~！-／：-～‘-‟　-。]+`,
      String.raw`\s+$`,
      HAN_AND_HANGUL,
      String.raw`\p{N}+`,
    ],
  },
  {
    names: ["deepseek-coder"],
    splits: ["[\r\n]", String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, HAN_AND_HANGUL, DIGIT],
  },
  {
    names: ["deepseek-v3", "hunyuan-dense"],
    splits: [
      UP_TO_3_DIGITS,
      "[一-龥぀-ゟ゠-ヿ]+",
      [
        String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${"`"}{|}~][A-Za-z]+`,
        String.raw`[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+`,
        String.raw` ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
      ].join("|"),
    ],
  },
  // What llama.cpp does where a file names none.
  { names: ["default"], splits: [String.raw`[\p{P}$+<=>^~|]+`, GPT2, String.raw`\p{N}+`, "[0-9][0-9][0-9]"] },
];

const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map(
  ENTRIES.flatMap(({ names, ...given }) => {
    const preTokenizer = { nfc: false, ignoreMerges: false, addBos: false, ...given };
    return names.map((name) => [name, preTokenizer]);
  }),
);

/** The pre-tokenizer of this name, undefined where it is not known. */
export function preTokenizer(name: string): PreTokenizer | undefined {
  return PRE_TOKENIZERS.get(name);
}

/** Every name that is known. */
export function preTokenizerNames(): string[] {
  return [...PRE_TOKENIZERS.keys()];
}
