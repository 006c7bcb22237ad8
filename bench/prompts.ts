/** Five kinds of text that people have written, each a hundred tokens or two. Ours. */

import type { Prompt } from "../src/index.ts";

export interface BenchPrompt {
  name: string;
  prompt: Prompt;
}

const ARTICLE =
  "The harbour of Port Elling has been closed to large ships since Tuesday morning, after a storm moved a sandbank into " +
  "the main channel. The harbour master said that two dredgers are on their way from the south and that the channel " +
  "should be deep enough for ferries again by Friday. Until then, passengers to the islands are taken by bus to the old " +
  "pier at Saint Maren, where smaller boats leave every two hours. Shops on the islands have asked people not to buy more " +
  "bread and milk than they need.";

const LETTER =
  "Dear Mr. Brown, we recieved your order of twelve chairs on Monday. Unfortunatly the chairs are not in stock at the " +
  "moment. We will send them to you as soon as they arive, wich should be in about two weeks. We are sorry for the delay " +
  "and hope that you will be pleased with the chairs. Yours sincerely, Anna Lind";

const CODE = `class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        if len(self.items) == 0:
            raise IndexError("pop from an empty stack")
        return self.items.pop()

class Queue:
    def __init__(self):
        self.items = []

    def`;

const STORY =
  "The old lighthouse keeper climbed the stairs for the last time. Tomorrow a machine would do his work, and the lamp " +
  "would turn without him. He put his hand on the cold glass and looked out at the sea, where";

/** @param chats whether the model answers messages; if not, what is asked is written out */
export function benchPrompts(chats: boolean): BenchPrompt[] {
  const asked = (content: string, answer: string): Prompt =>
    chats ? [{ role: "user", content }] : `${content}\n\n${answer}`;
  return [
    { name: "continuation", prompt: STORY },
    { name: "summary", prompt: asked(`Summarize this article in two sentences.\n\n${ARTICLE}`, "Summary:") },
    { name: "edit", prompt: asked(`Correct the spelling of this letter and repeat it whole.\n\n${LETTER}`, "Letter:") },
    { name: "code", prompt: CODE },
    { name: "chat", prompt: asked("I have a free afternoon in the mountains. What could I do?", "Answer:") },
  ];
}
