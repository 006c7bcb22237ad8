/** Numbers that shaders and host must agree on. Each reaches the shaders by name, never as a literal. */

/** Rows that a round can hold: what it verifies at most. */
export const ROW_CAPACITY = 64;

/** Rows that a forward pass can hold: the longest chunk of a prompt. */
export const PROMPT_CAPACITY = 256;

/** Most tokens that layers draft in a round, one behind the other. */
export const MAX_DRAFT_LENGTH = 31;

/** Most rows of a tree: all but the one that continues the committed sequence. */
export const MAX_TREE_SIZE = ROW_CAPACITY - 1;

/** Nodes that a drafter may propose: more than there are rows, since paths may begin alike. */
export const PROPOSAL_CAPACITY = 128;
/** From here on a proposed node's parent is a proposed node; below, a row that is there already. */
export const PROPOSED = 0x100;

/** The id and row number that stand for "none". */
export const NONE = 0xffffffff;

/** Keys of a chunk of attention, which is cut at multiples of it: what a thread walks, or a workgroup shares. */
export const KEYS_PER_CHUNK = 64;

/** Slots of a page of the KV cache. */
export const PAGE_SLOTS = 64;

/** Threads of a workgroup. */
export const WORKGROUP = 64;

/** EOS ids the state holds. */
export const EOS_CAPACITY = 16;

/** Ids that are remembered to follow a token (Token Recycling). */
export const FOLLOWERS = 8;

/** Places where the text's end stood before that propose, and the longest match that is told from longer ones. */
export const MATCHES = 4;
export const LONGEST_MATCH = 16;

/** Bytes of a row range, and with it the alignment of the ranges' offsets. */
export const RANGE_BYTES = 256;

/** Bytes of a `Row`. */
export const ROW_BYTES = 28;

/** Texts that are worked on at a time, each in a lane of its own: a multiple of 4. */
export const LANES = 8;

/** Bytes from lane to lane of what each has, which may be bound alone: the largest alignment that a device may ask of an offset. */
export const LANE_BYTES = 256;

/** Which entry of the range table a pass reads. Entries below `ROW_CAPACITY` are the draft steps, one row each. */
export const RANGE_VERIFY_EARLY = ROW_CAPACITY;
export const RANGE_VERIFY = ROW_CAPACITY + 1;
/** A chunk of the prompt, and its last row. */
export const RANGE_CHUNK = ROW_CAPACITY + 2;
export const RANGE_LAST = ROW_CAPACITY + 3;
/** Rows that a second model catches up with. */
export const RANGE_CATCH_UP = ROW_CAPACITY + 4;
export const RANGE_COUNT = ROW_CAPACITY + 5;

/** Values of `State.finished`. */
export const RUNNING = 0;
export const STOPPED = 1;
export const LENGTH_REACHED = 2;
export const FAILED = 3;

/** Constants every kernel may use. */
export const COMMON_CONSTANTS = { WORKGROUP, NONE, ROW_CAPACITY } as const;

/** Constants of the kernels that read or write a generation's state. */
export const STATE_CONSTANTS = {
  ...COMMON_CONSTANTS,
  PAGE_SLOTS,
  LANES,
  LANE_BYTES,
  MAX_DRAFT_LENGTH,
  EOS_CAPACITY,
  RUNNING,
  STOPPED,
  LENGTH_REACHED,
  FAILED,
  RANGE_VERIFY_EARLY,
  RANGE_VERIFY,
  RANGE_CATCH_UP,
} as const;

/** Ids a thread scores, of each row: a workgroup of `WORKGROUP` threads takes so many times as many. */
export const IDS_PER_THREAD = 16;

/** Threads of a GPU that go through a row's vocabulary. */
export const FILTER_THREADS = 256;

/** Most alternatives that are told of a token. */
export const TOP_CAPACITY = 20;
