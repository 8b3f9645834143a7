import assert from "node:assert/strict";
import test from "node:test";

import { modeWord, pairs, parse, words } from "../../../src/web/page/src/story/unified";
import { session } from "./read";

const diffs = (name: string): string[] =>
  session(name).filter((event) => event.tags.some((tag) => tag[1] === "file")).map((event) => event.content);

test("real changes are read: created, edited, binary, link, rights, deleted", () => {
  const [made, binary, link, edited] = diffs("shell").flatMap(parse);
  assert.deepEqual([made?.path, made?.created, made?.hunks[0]?.lines], [
    "a",
    true,
    [{ sign: "+", text: "hi", old: 0, new: 1 }],
  ]);
  assert.deepEqual([binary?.path, binary?.binary, binary?.hunks.length], ["bin.dat", true, 0]);
  assert.equal(modeWord(link?.newMode), "link");
  assert.deepEqual(link?.hunks[0]?.lines.at(-1)?.sign, "\\");
  assert.deepEqual([edited?.oldMode, edited?.newMode, modeWord(edited?.newMode)], ["100644", "100755", "program"]);
  assert.deepEqual(edited?.hunks[0]?.lines.map((line) => [line.sign, line.old, line.new]), [
    [" ", 1, 1],
    [" ", 2, 2],
    ["-", 3, 0],
    ["+", 0, 3],
  ]);
  const deleted = diffs("builder").flatMap(parse).find((file) => file.deleted);
  assert.equal(deleted?.path, "old.txt");
});

test("several files, lines that look like headers, names in quotes, a text that was cut", () => {
  const files = parse(
    [
      "diff --git a/x b/x",
      "--- a/x",
      "+++ b/x",
      "@@ -1,3 +1,2 @@ fn main()",
      " same",
      "--- a/y",
      "-diff --git a/z b/z",
      "+++ b/y",
      'diff --git "a/t\\303\\244\\"b" "b/t\\303\\244\\"b"',
      "new file mode 100644",
      "--- /dev/null",
      '+++ "b/t\\303\\244\\"b"',
      "@@ -0,0 +1,9 @@",
      "+one",
      "+tw",
    ].join("\n"),
  );
  assert.equal(files.length, 2);
  assert.deepEqual(files[0]?.hunks[0]?.lines.map((line) => line.sign + line.text), [
    " same",
    "--- a/y",
    "-diff --git a/z b/z",
    "+++ b/y",
  ]);
  assert.equal(files[0]?.hunks[0]?.about, "fn main()");
  assert.deepEqual([files[1]?.path, files[1]?.created, files[1]?.hunks[0]?.lines.length], ['tä"b', true, 2]);
});

test("what is no diff is a note, and nothing breaks", () => {
  assert.deepEqual(parse("File too large to compare\n")[0]?.notes, ["File too large to compare"]);
  assert.deepEqual(parse(""), []);
  for (const strange of ["@@ -1 +1 @@", "@@ -9999999999 +1 @@\n+x", '+++ "', "diff --git ", "\\ No newline", "+++ b/\\"]) {
    parse(strange);
  }
});

test("ten thousand lines and a line of a megabyte are read at once", () => {
  const lines = "+x\n".repeat(10_000);
  const began = performance.now();
  const [file] = parse(`@@ -0,0 +1,10001 @@\n${lines}+${"y".repeat(1 << 20)}\n`);
  assert.equal(file?.hunks[0]?.lines.length, 10_001);
  assert.equal(words("y".repeat(1 << 20), "z"), undefined);
  assert.ok(performance.now() - began < 500);
});

test("inside of a changed line the changed words are marked", () => {
  const [before, after] = words("const x = 1;", "let x = 22;") ?? [];
  const text = (parts: { text: string; changed: boolean }[] | undefined): string[] =>
    (parts ?? []).map((part) => (part.changed ? `[${part.text}]` : part.text));
  assert.deepEqual(text(before), ["[const]", " x = ", "[1]", ";"]);
  assert.deepEqual(text(after), ["[let]", " x = ", "[22]", ";"]);
  assert.equal(words("one thing", "quite another"), undefined);
  assert.equal(words("", ""), undefined);
});

test("a removed line stands beside the added one that is like it", () => {
  const text = "@@ -1,4 +1,5 @@\n-  items.push(text);\n-gone\n+  if (!text) return;\n+  items.push({ text });\n+new\n same\n-f(1)\n+f(2)\n";
  const lines = parse(text)[0]?.hunks[0]?.lines ?? [];
  assert.equal(lines.length, 8);
  assert.deepEqual([...pairs(lines)], [[0, 3], [3, 0], [6, 7], [7, 6]]);
  const many = `${"-a b c\n".repeat(5_000)}${"+d e f\n".repeat(5_000)}`;
  const began = performance.now();
  pairs(parse(`@@ -1,5000 +1,5000 @@\n${many}`)[0]?.hunks[0]?.lines ?? []);
  assert.ok(performance.now() - began < 1_000);
});
