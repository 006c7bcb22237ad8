/** Pointing at something that stands for a round. */

import type { RoundEvents } from "./round_events.ts";

/** Where the pointer was last moved to, anywhere on the page. */
let movedTo = "";

const at = ({ screenX, screenY }: PointerEvent): string => `${screenX},${screenY}`;

document.addEventListener(
  "pointermove",
  (event) => {
    movedTo = at(event);
  },
  { capture: true, passive: true },
);

/**
 * Tells the round of what the pointer is moved over, and 0 when it leaves. A browser also says `pointerover` where the
 * page scrolls or grows under a pointer that lies still: nobody points then, and whoever uses the keyboard keeps the
 * round that they are at.
 */
export function onPointing(
  root: HTMLElement,
  roundOf: (target: EventTarget | null) => number,
  point: RoundEvents["point"],
): void {
  root.addEventListener("pointerover", (event) => {
    if (at(event) !== movedTo) point(roundOf(event.target));
  });
  root.addEventListener("pointerleave", (event) => {
    if (at(event) !== movedTo) point(0);
  });
}
