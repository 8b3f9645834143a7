import assert from "node:assert/strict";
import test from "node:test";

import type { NEvent } from "../../../src/web/page/src/nostr/records";
import { search, shown } from "../../../src/web/page/src/story/filter";
import { commandOf, outputOf, pointNumber, Sort, Story, truncated } from "../../../src/web/page/src/story/model";
import { action, record, session } from "./read";

const told = (story: Story): string[] => story.items.map((item) => `${item.kind}${item.to > item.at ? item.to - item.at + 1 : ""}`);

function story(events: NEvent[]): Story {
  const made = new Story();
  made.take(events);
  return made;
}

test("a real session is told step by step", () => {
  const builder = story(session("builder"));
  assert.deepEqual(told(builder), [
    "asked", "started", "point",
    "quiet6", "file", "point",
    "ran", "quiet2", "file", "point",
    "file", "point",
    "ran", "differs", "quiet2", "file", "point", "file", "said", "ended",
  ]);
  const { totals } = builder;
  assert.deepEqual([totals.calls, totals.tokensIn, totals.tokensOut], [4, 4997, 360]);
  assert.deepEqual([totals.points, totals.problems, totals.unclaimed], [5, 1, 1]);
  assert.deepEqual([...builder.paths.keys()], ["src/todo.js", "test/todo.test.js", "old.txt", "README.md"]);
  assert.equal(builder.counts.files, 5);
  const claims = builder.items.filter((item) => item.kind === "quiet").flatMap((item) => builder.of(item));
  const edit = claims.find((event) => event.tags.some((tag) => tag[0] === "alt" && tag[1] === "Says it edited src/todo.js"));
  assert.ok(edit !== undefined && builder.isKept(edit));
});

test("however the same session comes in, it is the same story", () => {
  const all = session("builder");
  const whole = told(story(all));
  // One by one at the end.
  const live = new Story();
  for (let n = 1; n <= all.length; n += 1) assert.equal(live.take(all.slice(0, n)), n === 1 ? "anew" : "appended");
  assert.deepEqual(told(live), whole);
  // From the end backwards: only quiet steps may stand in two items where pages meet.
  const back = new Story();
  for (let n = all.length - 5; n >= 0; n -= 5) back.take(all.slice(n));
  back.take(all);
  const joined = told(back).filter((kind) => !kind.startsWith("quiet"));
  assert.deepEqual(joined, whole.filter((kind) => !kind.startsWith("quiet")));
  assert.deepEqual(back.totals, live.totals);
  // As the page does it: the request stays first, and pages come between it and what was there.
  const pages = new Story();
  for (let n = all.length - 7; n > 1; n -= 7) assert.match(pages.take([all[0] as NEvent, ...all.slice(n)]), /anew|inserted/);
  assert.equal(pages.take(all), "inserted");
  assert.deepEqual(told(pages).filter((kind) => !kind.startsWith("quiet")), whole.filter((kind) => !kind.startsWith("quiet")));
  assert.deepEqual(pages.totals, live.totals);
  // Both at once, and something else entirely.
  const both = new Story();
  both.take(all.slice(5, 10));
  assert.equal(both.take(all.slice(3, 20)), "both");
  assert.equal(both.take(all.slice(3, 20)), "none");
  assert.equal(both.take(session("shell")), "anew");
  assert.deepEqual(told(both), told(story(session("shell"))));
});

test("keys of items stay when others come before and after", () => {
  const all = session("builder");
  const made = new Story();
  made.take(all.slice(12, 20));
  const before = new Map(made.items.map((item) => [item.key, made.event(item.at)?.id]));
  made.take(all);
  for (const [key, id] of before) {
    const item = made.items.find((item) => item.key === key);
    assert.equal(item && made.event(item.at)?.id, id);
  }
  assert.equal(new Set(made.items.map((item) => item.key)).size, made.items.length);
  made.items.forEach((item, at) => assert.equal(made.itemAt(item.at), at));
});

test("a batch at either end costs what it holds, not what is there", () => {
  let reads = 0;
  const watched = (n: number): NEvent => {
    const made = action(n, "message", [], `word ${n}`);
    const { tags } = made;
    return Object.defineProperty(made, "tags", { get: () => ((reads += 1), tags) });
  };
  const many = Array.from({ length: 100_000 }, (_, n) => watched(n + 1));
  const made = story(many.slice(500, 99_500));
  reads = 0;
  assert.equal(made.take(many.slice(500)), "appended");
  assert.equal(made.take(many), "inserted");
  assert.equal(made.items.length, 100_000);
  assert.ok(reads < 1_000 * 15, `${reads} reads for 1000 events`);
});

test("records that are missing are said to be", () => {
  const made = story([action(1, "message"), action(2, "message"), action(5, "message")]);
  assert.deepEqual(told(made), ["said", "said", "gap", "said"]);
  const back = new Story();
  const all = [action(1, "message"), action(7, "message")];
  back.take(all.slice(1));
  back.take(all);
  assert.deepEqual(told(back), ["said", "gap", "said"]);
});

test("filters by kind and path", () => {
  const builder = story(session("builder"));
  const kinds = (sorts: number, path = ""): string[] =>
    shown(builder, { sorts, path }).map((at) => builder.items[at]?.kind ?? "");
  assert.deepEqual(kinds(Sort.problems), ["differs", "file"]);
  assert.deepEqual(kinds(Sort.talk), ["asked", "started", "said", "ended"]);
  assert.deepEqual(kinds(Sort.files, "TODO.js"), ["file", "file"]);
  assert.deepEqual(kinds(0, "changelog"), ["differs"]);
});

test("a word is found wherever it stands", async () => {
  const builder = story(session("builder"));
  const kinds = async (text: string): Promise<string[]> => {
    const keys = await search(builder, text, undefined, () => false);
    return keys.map((key) => builder.items.find((item) => item.key === key)?.kind ?? "");
  };
  assert.deepEqual(await kinds("PLANTS"), ["file", "said"]);
  assert.deepEqual(await kinds("addTodo"), ["quiet"]);
  assert.deepEqual(await kinds("nowhere"), []);
});

test("questions find their answers, undos their checkpoints", () => {
  const question = action(1, "question", [["claim", "asked"], ["option", "yes", "allow_once", "Yes"]], "run it?");
  const point = record(3, 4783, [["r", "refs/treefort/x/7"], ["commit", "abc"]]);
  const answer = action(2, "answer", [["question", question.id], ["option", "yes", "allow_once", "Yes"], ["by", "owner"]]);
  const made = story([question, answer, point]);
  assert.equal(made.answerTo(question), answer);
  assert.equal(made.pointOf("abc"), 7);
  assert.equal(pointNumber(point), 7);
});

test("commands are read as a person would type them", () => {
  assert.equal(commandOf(action(1, "command", [["cmd", "sh", "-c", "echo hi | cat"]])), "echo hi | cat");
  assert.equal(commandOf(action(1, "command", [["cmd", "cargo", "test"]])), "cargo test");
  assert.equal(commandOf(action(1, "command", [["claim", "failed"], ["alt", "Says it ran `npm test`, which failed"]])), "npm test");
  assert.equal(outputOf(action(1, "command", [["cmd", "ls"]], "$ ls\na\n")), "a\n");
  assert.equal(outputOf(action(1, "command", [["claim", "completed"]], "$ ls\na\n")), "$ ls\na\n");
});

test("tags of a hostile record are read as nothing, not as something", () => {
  assert.equal(truncated(action(1, "message", [["truncated", "9", "../../etc/passwd"]])), undefined);
  assert.equal(pointNumber(record(1, 4783, [["r", "refs/x/99999999999999"]])), undefined);
  const made = story([action(1, "file", [["lines", "+1e9", "-NaN"], ["path"]]), record(2, 4782, [["l"], []])]);
  assert.deepEqual([made.totals.added, made.totals.removed, told(made)], [0, 0, ["file", "other"]]);
});

test("what a command wrote is told once, and so is what was withheld", () => {
  const shell = told(story(session("shell")));
  assert.deepEqual(shell.filter((kind) => kind === "said" || kind === "ran"), ["ran"]);
  const withheld = [["withheld", "9"]];
  const ran = [["cmd", "sh", "-c", "x"], ["exit", "0"]];
  const made = (events: NEvent[]): Story => story(events);
  assert.deepEqual(told(made([action(1, "message", withheld), action(2, "command", [...ran, ...withheld])])), ["ran"]);
  const result = { ...record(3, 6050, [["encrypted"]], "?"), tags: [["encrypted"]] };
  const answered = made([action(1, "message", withheld), result]);
  assert.deepEqual(told(answered), ["result"]);
  assert.equal(answered.counts.talk, 1);
  // Other words are not the command's.
  assert.deepEqual(told(made([action(1, "message", [], "I run it"), action(2, "command", ran, "$ x\nout\n")])), ["said", "ran"]);
  assert.deepEqual(told(made([action(1, "message", [], "out\n"), action(2, "command", ran, "$ x\nout\n")])), ["ran"]);
});

test("a checkpoint that is recorded again, as around an undo, is told once", () => {
  const point = (n: number, number: number, commit: string): NEvent => record(n, 4783, [["r", `refs/x/${number}`], ["commit", commit]]);
  const made = story([point(1, 1, "a"), point(2, 2, "b"), point(3, 2, "b"), action(4, "undo", [["to", "1"], ["from", "b"]]), point(5, 3, "a")]);
  assert.deepEqual(told(made), ["point", "point", "undo", "point"]);
  assert.equal(made.totals.points, 3);
});
