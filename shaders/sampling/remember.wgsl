// counts[id]++ for each token that the round emitted: the history that penalties see. Tokens of the prompt are marked by the
// host, once.
//
// One thread, after the accept kernel.
//
// Constants: those of state.wgsl. Needs state.wgsl.

@group(0) @binding(0) var<storage, read> report: Report;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
@group(0) @binding(2) var<uniform> settings: Settings;

@compute @workgroup_size(1)
fn main() {
  for (var i = 0u; i < report.emitted; i++) {
    counts[settings.lane * settings.vocabSize + report.lines[i].id]++;
  }
}
