// Shared: Gumbel noise that depends on seed, position and id alone.
//
// argmax over i of score[i] + gumbel(i) is a sample of softmax(score) (Gumbel 1954; Maddison et al. 2014, section 2). With
// noise that is a function of where it stands and not of when it is drawn, draft and target draw the same, and agree
// wherever their scores do (Daliri, Musco, Suresh 2024).
//
// Philox 4x32-10 (Salmon et al. 2011, section 3.3): counter (id / 4, position, stream, 0), key the seed; id % 4 picks the
// word. A word x stands for v = (x + 1/2) / 2^32. E = -log(1 - v) is exponential, -log(E) Gumbel. Both tails matter: the
// largest of 262,144 draws has v near 2^-18, where log(1 - v) would be rounding error; there E is summed up as a series.

const PHILOX_M = vec2u(0xd2511f53u, 0xcd9e8d57u);
const PHILOX_WEYL = vec2u(0x9e3779b9u, 0xbb67ae85u);

// Streams. The invariant rule draws all from STREAM_TARGET.
const STREAM_TARGET = 0u;
const STREAM_DRAFT = 1u;
const STREAM_ACCEPT = 2u;
const STREAM_RESIDUAL = 3u;

// No noise is above 22.9 or below -3.2: an id further than this behind the peak cannot win.
const NOISE_SPAN = 26.5;

fn mulHigh(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let low = al * bl;
  let cross1 = ah * bl;
  let cross2 = al * bh;
  let middle = (low >> 16u) + (cross1 & 0xffffu) + (cross2 & 0xffffu);
  return ah * bh + (cross1 >> 16u) + (cross2 >> 16u) + (middle >> 16u);
}

fn philox(counter: vec4u, seed: vec2u) -> vec4u {
  var c = counter;
  var key = seed;
  for (var round = 0u; round < 10u; round++) {
    c = vec4u(
      mulHigh(PHILOX_M.y, c.z) ^ c.y ^ key.x,
      PHILOX_M.y * c.z,
      mulHigh(PHILOX_M.x, c.x) ^ c.w ^ key.y,
      PHILOX_M.x * c.x,
    );
    key += PHILOX_WEYL;
  }
  return c;
}

// -log(1 - v), to a relative error of a few units of f32's last place for every word.
fn exponential(word: u32) -> f32 {
  if (word < 0x80000000u) {
    // -log(1 - v) = 2 artanh(v / (2 - v)); t is below 1/3.
    let v = (f32(word) + 0.5) * 0x1p-32;
    let t = v / (2.0 - v);
    let s = t * t;
    let tail = s * (1.0 / 3.0 + s * (1.0 / 5.0 + s * (1.0 / 7.0 + s * (1.0 / 9.0 + s * (1.0 / 11.0 + s * (1.0 / 13.0 + s / 15.0))))));
    return 2.0 * t + 2.0 * t * tail;
  }
  return -log((f32(~word) + 0.5) * 0x1p-32);
}

fn gumbel(word: u32) -> f32 {
  return -log(exponential(word));
}
