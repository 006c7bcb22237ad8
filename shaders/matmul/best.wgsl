// Shared: a candidate for the argmax, and the order between candidates.
//
// The larger logit wins; of equal logits the lowest id, at every stage. A logit that is no finite number wins against
// everything and carries the id NONE: a row with one such logit selects NONE, which the accept kernel reports. The test
// looks at the bits, since WGSL lets a compiler assume that floats are finite.
//
// Constants: NONE.

struct Candidate {
  logit: f32,
  id: u32,
}

const WORST = Candidate(-3.4028234e38, NONE);
const NOT_FINITE = Candidate(3.4028234e38, NONE);

fn candidate(logit: f32, id: u32) -> Candidate {
  if ((bitcast<u32>(logit) & 0x7f800000u) == 0x7f800000u) {
    return NOT_FINITE;
  }
  return Candidate(logit, id);
}

// NONE + 1 is 0: what is not finite also wins against the largest finite number.
fn beats(next: Candidate, best: Candidate) -> bool {
  return next.logit > best.logit || (next.logit == best.logit && next.id + 1 < best.id + 1);
}

fn better(best: Candidate, next: Candidate) -> Candidate {
  if (beats(next, best)) {
    return next;
  }
  return best;
}
