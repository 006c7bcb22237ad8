// scores[r][i] = (penalised(logits[r][i] + bias[own + id])) / temperature, and the largest score of each workgroup's run.
//
// Repetition (Keskar et al. 2019, section 4.1): z > 0 ? z / penalty : z * penalty for ids of prompt and new text; frequency
// and presence (OpenAI's): z - frequency * count - presence * (count > 0) for ids of the new text. A row sees its own
// history: what is committed, and the rows in flight that it continues. So a verified row is penalised as the same token in
// plain decoding is.
//
// logits, scores: [rows][count]; peaks: [rows][groups]; bias: [lane][vocabulary]; counts: [lane][vocabulary], the number of
// times that an id stands in the new text, and IN_PROMPT
//
// A workgroup takes WORKGROUP * IDS_PER_THREAD ids of one row, neighbouring threads neighbouring ids.
//
// Constants: WORKGROUP, IDS_PER_THREAD, ROW_CAPACITY, NONE. Needs rows.wgsl, scores.wgsl and an ids_*.wgsl.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Scores;
@group(0) @binding(2) var<storage, read> samplings: array<Sampling>;
@group(0) @binding(3) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read> logits: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> counts: array<u32>;
@group(0) @binding(7) var<storage, read_write> scores: array<f32>;
@group(0) @binding(8) var<storage, read_write> peaks: array<f32>;

const IN_PROMPT = 0x80000000u;

var<private> inFlight: array<u32, ROW_CAPACITY>;
var<private> inFlightCount: u32;
// Where the text's biases and counts begin.
var<private> own: u32;
var<workgroup> threadPeaks: array<f32, WORKGROUP>;

// The tokens that the row continues and that are not committed yet. The first row's token is: it was emitted.
fn readHistory(row: u32) {
  inFlightCount = 0u;
  var at = row;
  while (rows[at].parent != NONE && inFlightCount < ROW_CAPACITY) {
    inFlight[inFlightCount] = rows[at].token;
    inFlightCount++;
    at = rows[at].parent;
  }
}

fn penalised(logit: f32, id: u32) -> f32 {
  let seen = counts[own + id];
  var count = seen & ~IN_PROMPT;
  for (var i = 0u; i < inFlightCount; i++) {
    count += select(0u, 1u, inFlight[i] == id);
  }
  if (count == 0u && seen == 0u) {
    return logit;
  }
  let repeated = select(logit * sampling.repetitionPenalty, logit / sampling.repetitionPenalty, logit > 0.0);
  return repeated - sampling.frequencyPenalty * f32(count) - select(0.0, sampling.presencePenalty, count > 0u);
}

fn scoreOf(logit: f32, id: u32) -> f32 {
  var score = logit;
  if (sampling.biased != 0u) {
    if (isBanned(bias[own + id])) {
      return BANNED;
    }
    score += bias[own + id];
  }
  if (sampling.penalised != 0u) {
    score = penalised(score, id);
  }
  return select(score, score / sampling.temperature, sampling.temperature > 0.0);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.y >= range.count) {
    return;
  }
  let row = range.first + group.y;
  sampling = samplings[rows[row].lane];
  own = rows[row].lane * sampling.vocabSize;
  if (sampling.penalised != 0u) {
    readHistory(row);
  }
  var peak = BANNED;
  for (var k = 0u; k < IDS_PER_THREAD; k++) {
    let i = (group.x * IDS_PER_THREAD + k) * WORKGROUP + thread;
    if (i < shape.count) {
      let logit = logits[row * shape.count + i];
      let score = scoreOf(logit, idOf(i));
      scores[row * shape.count + i] = score;
      // The bits tell what is not finite: WGSL lets a compiler assume that floats are.
      let finite = (bitcast<u32>(logit) & 0x7f800000u) != 0x7f800000u && (bitcast<u32>(score) & 0x7f800000u) != 0x7f800000u;
      peak = max(peak, select(NOT_FINITE_PEAK, score, finite));
    }
  }
  threadPeaks[thread] = peak;
  workgroupBarrier();
  if (thread == 0u) {
    for (var t = 1u; t < WORKGROUP; t++) {
      peak = max(peak, threadPeaks[t]);
    }
    peaks[row * shape.groups + group.x] = peak;
  }
}
