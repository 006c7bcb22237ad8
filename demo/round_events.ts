/** What a pointer, a finger or the keyboard does with the rounds. */

export interface RoundEvents {
  /** A round is pointed at; 0: none is any more. */
  point: (round: number) => void;
  /** A round was chosen: by a press, or because the focus went there. */
  select: (round: number) => void;
}
