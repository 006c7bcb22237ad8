// filters[r]: the peak of a row's scores, and which ids top-k, top-p, min-p and typical-p leave, each working on what the one
// before left (Fan et al. 2018; Holtzman et al. 2020; Nguyen et al. 2024; Meister et al. 2023). Ids that tie with the last one
// that a filter keeps are kept too.
//
// Nothing is sorted. The k-th smallest distance, or the one at which the mass reaches p, is found digit by digit: count or
// sum up what falls into each of 256 digits, go on within the digit where the limit is crossed. Four rounds settle 32 bits.
//
// The sums of top-p and typical-p are integers (exp(-distance) * 2^27, in two words): threads may add them in any order and
// the result has the same bits. Ids below 2^-28 of the peak's probability have no mass.
//
// One workgroup a row; where nothing is filtered and no mass wanted, one thread of it, without a barrier.
// scores: [rows][count]; peaks: [rows][groups]
//
// Constants: THREADS. Needs rows.wgsl and scores.wgsl.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Scores;
@group(0) @binding(2) var<storage, read> samplings: array<Sampling>;
@group(0) @binding(3) var<storage, read> scores: array<f32>;
@group(0) @binding(4) var<storage, read> peaks: array<f32>;
@group(0) @binding(5) var<storage, read_write> filters: array<Filter>;
@group(0) @binding(6) var<storage, read> rows: array<Row>;

const DIGITS = 256u;
const UNIT = 134217728.0; // 2^27
const LOW_BITS = 14u;     // 2^18 ids of 2^14 fit a word

var<workgroup> counts: array<atomic<u32>, DIGITS>;
var<workgroup> lowMass: array<atomic<u32>, DIGITS>;
var<workgroup> highMass: array<atomic<u32>, DIGITS>;
var<workgroup> sums: array<vec2f, THREADS>;
var<workgroup> found: u32;
var<workgroup> limit: f32;
var<workgroup> before: vec3u;
var<workgroup> chosen: Filter;

var<private> base: u32;

// What a search orders ids by: distance from the peak, or from the centre of what is typical.
fn keyOf(score: f32, byCentre: bool) -> u32 {
  let key = distanceKey(score, chosen.peak);
  if (key > chosen.farthest) {
    return NO_LIMIT;
  }
  return select(key, bitcast<u32>(abs(chosen.peak - score - chosen.centre)), byCentre);
}

// The smallest key at which the number of ids up to it, or their share of the mass, reaches `wanted`.
fn search(thread: u32, byMass: bool, byCentre: bool, wanted: f32) -> u32 {
  var prefix = 0u;
  if (thread == 0u) {
    before = vec3u(0u);
  }
  for (var shift = 24u; shift <= 24u; shift -= 8u) {
    for (var digit = thread; digit < DIGITS; digit += THREADS) {
      atomicStore(&counts[digit], 0u);
      atomicStore(&lowMass[digit], 0u);
      atomicStore(&highMass[digit], 0u);
    }
    workgroupBarrier();
    for (var i = thread; i < shape.count; i += THREADS) {
      let score = scores[base + i];
      let key = keyOf(score, byCentre);
      let within = shift == 24u || (key >> (shift + 8u)) == (prefix >> (shift + 8u));
      if (key != NO_LIMIT && within) {
        let digit = (key >> shift) & 255u;
        atomicAdd(&counts[digit], 1u);
        if (byMass) {
          let mass = u32(exp(score - chosen.peak) * UNIT + 0.5);
          atomicAdd(&lowMass[digit], mass & ((1u << LOW_BITS) - 1u));
          atomicAdd(&highMass[digit], mass >> LOW_BITS);
        }
      }
    }
    workgroupBarrier();
    if (thread == 0u) {
      if (shift == 24u) {
        limit = wanted;
        if (byMass) {
          var total = vec3u(0u);
          for (var digit = 0u; digit < DIGITS; digit++) {
            total = added(total, digit);
          }
          limit = wanted * massOf(total);
        }
      }
      var sum = before;
      var crossing = 0u;
      for (var digit = 0u; digit < DIGITS; digit++) {
        if (atomicLoad(&counts[digit]) > 0u) {
          // The last digit that holds ids is the crossing one where rounding leaves the limit unreached.
          before = sum;
          crossing = digit;
          sum = added(sum, digit);
          if (select(f32(sum.x), massOf(sum), byMass) >= limit) {
            break;
          }
        }
      }
      found = crossing;
    }
    prefix |= workgroupUniformLoad(&found) << shift;
  }
  return prefix;
}

// (ids, low words, high words) with those of a digit. The low words are carried over, so that none overflows.
fn added(sum: vec3u, digit: u32) -> vec3u {
  let low = sum.y + atomicLoad(&lowMass[digit]);
  return vec3u(
    sum.x + atomicLoad(&counts[digit]),
    low & ((1u << LOW_BITS) - 1u),
    sum.z + atomicLoad(&highMass[digit]) + (low >> LOW_BITS),
  );
}

fn massOf(sum: vec3u) -> f32 {
  return f32(sum.z) * f32(1u << LOW_BITS) + f32(sum.y);
}

// Sums over what is allowed of (exp(-distance), distance * exp(-distance)), in an order of its own.
fn sumUp(thread: u32) -> vec2f {
  var sum = vec2f(0.0);
  for (var i = thread; i < shape.count; i += THREADS) {
    let score = scores[base + i];
    if (isAllowed(score, chosen)) {
      let distance = chosen.peak - score;
      let weight = exp(-distance);
      sum += vec2f(weight, select(0.0, distance * weight, weight > 0.0));
    }
  }
  sums[thread] = sum;
  workgroupBarrier();
  var total = vec2f(0.0);
  for (var t = 0u; t < THREADS; t++) {
    total += sums[t];
  }
  workgroupBarrier();
  return total;
}

fn peakOf(row: u32) -> f32 {
  var peak = BANNED;
  for (var g = 0u; g < shape.groups; g++) {
    peak = max(peak, peaks[row * shape.groups + g]);
  }
  return peak;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  base = row * shape.count;
  let asked = samplings[rows[row].lane]; // the same for all threads, which a private variable is not known to be
  let all = Filter(peakOf(row), NO_LIMIT - 1u, 0.0, NO_LIMIT - 1u, 0.0, 0u, 0u, 0u);
  let searches = asked.topK > 0u || asked.topP < 1.0 || asked.typicalP < 1.0;
  if (shape.wantsMass == 0u && !(asked.temperature > 0.0 && searches)) {
    if (thread == 0u) {
      filters[row] = all;
      if (asked.temperature > 0.0) {
        filters[row].farthest = min(all.farthest, asked.minPDistance);
      }
    }
    return;
  }
  if (thread == 0u) {
    chosen = all;
  }
  // What is the same for all threads of all workgroups decides which way they go, so that the barriers are met by all.
  let current = workgroupUniformLoad(&chosen);
  if (current.peak != NOT_FINITE_PEAK && !isBanned(current.peak)) {
    if (asked.temperature > 0.0) {
      if (asked.topK > 0u && asked.topK < shape.count) {
        narrow(thread, search(thread, false, false, f32(asked.topK)));
      }
      if (asked.topP < 1.0) {
        narrow(thread, search(thread, true, false, asked.topP));
      }
      narrow(thread, asked.minPDistance);
      if (asked.typicalP < 1.0) {
        // -log p = distance + log(sum of weights), so entropy and surprise differ by what distances differ by.
        let sum = sumUp(thread);
        if (thread == 0u) {
          chosen.centre = sum.y / sum.x;
        }
        workgroupBarrier();
        let spread = search(thread, true, true, asked.typicalP);
        if (thread == 0u) {
          chosen.spread = spread;
        }
        workgroupBarrier();
      }
    }
    if (shape.wantsMass != 0u) {
      let sum = sumUp(thread);
      if (thread == 0u) {
        chosen.mass = sum.x;
      }
    }
  }
  if (thread == 0u) {
    filters[row] = chosen;
  }
}

fn narrow(thread: u32, farthest: u32) {
  if (thread == 0u) {
    chosen.farthest = min(chosen.farthest, farthest);
  }
  workgroupBarrier();
}
