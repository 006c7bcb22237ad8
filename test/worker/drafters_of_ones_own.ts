/** Drafters that a worker imports: an object, a class, and a function that gives one. */

const drafter = { name: "eager", treeSize: 3, propose: () => [403, 407, 261] };
export default drafter;

export class Eager {
  readonly name = "eager";
  readonly treeSize = 2;
  propose(): number[] {
    return [this.treeSize, 5];
  }
}

export const make = async () => drafter;

export const nothing = 7;
