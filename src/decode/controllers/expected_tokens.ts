/** What a round emits on average (Leviathan et al. 2023, equation 1): (1 - a^(d+1)) / (1 - a), the full model's token included. */
export function expectedTokens(acceptance: number, draftLength: number): number {
  let tokens = 1;
  for (let i = 0, run = acceptance; i < draftLength; i++, run *= acceptance) tokens += run;
  return tokens;
}
