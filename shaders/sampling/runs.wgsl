// Shared: a workgroup's run of a row's ids, for kernels that draw noise: which places a thread looks at, the noise there, and
// the best of what the threads found.
//
// A run is WORKGROUP * IDS_PER_THREAD places, as adjust.wgsl's. A thread takes four neighbours at a time: where all ids are
// scored they share one call of Philox.
//
// Constants: WORKGROUP, IDS_PER_THREAD (a multiple of 4), NONE. Needs noise.wgsl and best.wgsl.

var<private> drawnFor: u32 = NONE;
var<private> drawn: vec4u;
var<workgroup> bests: array<Candidate, WORKGROUP>;

// Place number k of a thread.
fn placeOf(run: u32, k: u32, thread: u32) -> u32 {
  return (run * IDS_PER_THREAD / 4u + k / 4u) * (WORKGROUP * 4u) + thread * 4u + k % 4u;
}

// The noise of an id, as the token at a position. A kernel draws for one position and one stream.
fn noiseOf(id: u32, position: u32, stream: u32, seed: vec2u) -> f32 {
  if (id / 4u != drawnFor) {
    drawnFor = id / 4u;
    drawn = philox(vec4u(drawnFor, position, stream, 0u), seed);
  }
  return gumbel(drawn[id % 4u]);
}

// The best of what all threads found; valid in thread 0 only.
fn bestOfRun(own: Candidate, thread: u32) -> Candidate {
  bests[thread] = own;
  workgroupBarrier();
  var best = own;
  if (thread == 0u) {
    for (var t = 1u; t < WORKGROUP; t++) {
      best = better(best, bests[t]);
    }
  }
  return best;
}
