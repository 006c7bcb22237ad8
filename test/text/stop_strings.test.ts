import { describe, expect, test } from "vitest";
import { InputError } from "../../src/errors.ts";
import { type StopStringStep, StopStrings } from "../../src/text/stop_strings.ts";
import { type Random, seeded } from "../reference/random.ts";

/** What is shown with each piece; "|" stands behind the one that completed a stop string, and what is flushed comes last. */
function shown(stops: readonly string[], pieces: readonly string[]): string[] {
  const strings = new StopStrings(stops);
  const steps = pieces.map((piece) => strings.push(piece));
  return [...steps.map(({ text, stopped }) => (stopped ? `${text}|` : text)), strings.flush()];
}

describe("a stop string", () => {
  test("within a piece ends the text, and what follows is dropped", () => {
    expect(shown(["END"], ["one ", "two END three"])).toEqual(["one ", "two |", ""]);
  });

  test("across pieces is held back as long as it may become one", () => {
    expect(shown(["\nUser:"], ["Hello", "\n", "User", ": hi"])).toEqual(["Hello", "", "", "|", ""]);
    expect(shown(["\nUser:"], ["Hello", "\n", "Us", "ing"])).toEqual(["Hello", "", "", "\nUsing", ""]);
  });

  test("is found where it begins inside a false start", () => {
    expect(shown(["aab"], ["a", "a", "a", "b"])).toEqual(["", "", "a", "|", ""]);
    expect(shown(["abababc"], ["ababab", "abc"])).toEqual(["", "ab|", ""]);
  });

  test("may be of one character, or the whole text", () => {
    expect(shown(["\n"], ["a", "b\nc"])).toEqual(["a", "b|", ""]);
    expect(shown(["abc"], ["abc"])).toEqual(["|", ""]);
  });

  test("not finished at the end is shown by the flush, once", () => {
    const strings = new StopStrings(["STOP"]);
    expect(strings.push("a STO")).toEqual({ text: "a ", stopped: false });
    expect([strings.flush(), strings.flush()]).toEqual(["STO", ""]);
    expect(strings.push("P")).toEqual({ text: "P", stopped: false });
  });

  test("shows nothing more once it is complete", () => {
    const strings = new StopStrings(["STOP", "x"]);
    strings.push("STOP");
    expect([strings.push("more"), strings.push("x"), strings.flush()]).toEqual([
      { text: "", stopped: true },
      { text: "", stopped: true },
      "",
    ]);
  });
});

describe("several stop strings", () => {
  test("the one that begins first ends the text", () => {
    expect(shown(["yy", "xx"], ["a xx b yy"])).toEqual(["a |", ""]);
    expect(shown(["cd", "bcde"], ["abcde"])).toEqual(["a|", ""]);
  });

  test("of those that begin at the same place, the shorter one is complete first", () => {
    expect(shown(["abc", "ab"], ["-a", "b", "c"])).toEqual(["-", "|", "|", ""]);
  });

  test("none waits for a longer one around it", () => {
    expect(shown(["cd", "bcde"], ["a", "b", "c", "d", "e"])).toEqual(["a", "", "", "b|", "|", ""]);
  });

  test("the longest that may become one is held back", () => {
    expect(shown(["abcd", "cx"], ["abc", "y"])).toEqual(["", "abcy", ""]);
    expect(shown(["abcd", "cx"], ["abc", "x"])).toEqual(["", "ab|", ""]);
    expect(shown(["bc", "abcd"], ["ab", "x"])).toEqual(["", "abx", ""]);
  });
});

test("without stop strings all goes out at once", () => {
  expect(shown([], ["a", "", "b"])).toEqual(["a", "", "b", ""]);
});

test("pieces without text, as of special tokens, change nothing", () => {
  expect(shown(["ab"], ["", "xa", "", "b"])).toEqual(["", "x", "", "|", ""]);
});

test("characters of two UTF-16 units stay whole", () => {
  // The two share their first unit.
  expect(shown(["😀!"], ["a😁", "b😀", "?", "😀", "!"])).toEqual(["a😁", "b", "😀?", "", "|", ""]);
  expect(shown(["é"], ["e\u0301"])).toEqual(["e\u0301", ""]); // no normalisation
});

test("an empty stop string is an error that names it", () => {
  expect(() => new StopStrings(["a", ""])).toThrow(InputError);
  expect(() => new StopStrings(["a", ""])).toThrow(
    "generate: stop[1]: found an empty string, expected a string of at least one character",
  );
  expect(() => new StopStrings([undefined as unknown as string], "chat")).toThrow("chat: stop[0]: found undefined");
});

describe("random texts, cut anywhere", () => {
  /** The same by searching the whole text again after each piece. */
  class Rescan {
    readonly #stops: readonly string[];
    #text = "";
    #shown = 0;
    #stopped = false;

    constructor(stops: readonly string[]) {
      this.#stops = stops;
    }

    push(piece: string): StopStringStep {
      if (this.#stopped) return { text: "", stopped: true };
      this.#text += piece;
      const places = this.#stops.map((stop) => this.#text.indexOf(stop)).filter((place) => place >= 0);
      this.#stopped = places.length > 0;
      return { text: this.#showTo(this.#stopped ? Math.min(...places) : this.#safe()), stopped: this.#stopped };
    }

    flush(): string {
      return this.#stopped ? "" : this.#showTo(this.#text.length);
    }

    /** Up to where no stop string can begin. */
    #safe(): number {
      let place = 0;
      while (place < this.#text.length && !this.#stops.some((stop) => stop.startsWith(this.#text.slice(place))))
        place++;
      return place;
    }

    #showTo(end: number): string {
      const text = this.#text.slice(this.#shown, end);
      this.#shown = end;
      return text;
    }
  }

  const letters = (random: Random, alphabet: string, least: number, most: number): string =>
    Array.from({ length: random.int(least, most) }, () => alphabet[random.int(0, alphabet.length - 1)]).join("");

  test(
    "are shown as by searching the whole text again",
    seeded((random) => {
      let stops = 0;
      for (let i = 0; i < 5000; i++) {
        const alphabet = random.pick(["ab", "abc"]);
        const strings = Array.from({ length: random.int(1, 4) }, () => letters(random, alphabet, 1, 9));
        const pieces = Array.from({ length: random.int(1, 25) }, () => letters(random, alphabet, 0, random.int(1, 6)));
        const [stop, rescan] = [new StopStrings(strings), new Rescan(strings)];
        const what = `${JSON.stringify(strings)} in ${JSON.stringify(pieces)}`;
        for (const piece of pieces) expect(stop.push(piece), what).toEqual(rescan.push(piece));
        if (rescan.push("").stopped) stops++;
        expect(stop.flush(), what).toBe(rescan.flush());
      }
      expect(stops).toBeGreaterThan(500);
      expect(stops).toBeLessThan(4950);
    }),
  );

  test(
    "stop with the piece that has the last character of the first stop string, however they are cut",
    seeded((random) => {
      for (let i = 0; i < 500; i++) {
        const strings = Array.from({ length: random.int(1, 3) }, () => letters(random, "ab", 3, 8));
        const text = letters(random, "ab", 1, 60);
        const end = Math.min(...strings.map((stop) => (text.includes(stop) ? text.indexOf(stop) + stop.length : 999)));
        const strict = new StopStrings(strings);
        let read = 0;
        while (read < text.length) {
          const piece = text.slice(read, read + random.int(1, 7));
          const { stopped } = strict.push(piece);
          read += piece.length;
          expect(stopped, `${JSON.stringify(strings)} in ${text} at ${read}`).toBe(read >= end);
        }
      }
    }),
  );
});
