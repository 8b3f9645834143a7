import assert from "node:assert/strict";
import test from "node:test";

import { cut, excerpt, line, pathParts, visible } from "../../../src/web/page/src/story/text";

test("what a screen would obey or hide is shown as what it is", () => {
  assert.equal(visible("plain\ttext\nnext"), "plain\ttext\nnext");
  assert.equal(visible("a\u001b[31mred\u001b[0m"), "ared");
  assert.equal(visible("\u001b]0;title\u0007\u001b[2J"), "␛]0;title␇␛[2J");
  assert.equal(visible("access\u202e\u2066 user"), "access⟨U+202E⟩⟨U+2066⟩ user");
  assert.equal(visible("zero\u200bwidth\ufeff"), "zero⟨U+200B⟩width⟨U+FEFF⟩");
  assert.equal(visible("\u{e0041}"), "⟨U+E0041⟩");
  assert.equal(visible("one\r\ntwo\r50%\r100%"), "one\ntwo␍\n50%␍\n100%");
  assert.equal(visible("\u0000\u007f\u0085"), "␀␡⟨U+0085⟩");
});

test("a picture of several stays one, a hidden joiner does not", () => {
  assert.equal(visible("👩‍💻 👩🏽‍🚀 ❤️‍🔥"), "👩‍💻 👩🏽‍🚀 ❤️‍🔥");
  assert.equal(visible("pay\u200dpal 👩\u200d"), "pay⟨U+200D⟩pal 👩⟨U+200D⟩");
});

test("a line is one line, and no half character", () => {
  assert.equal(line("  a\n\n b\tc "), "a b c");
  assert.equal(cut("ab😀", 3), "ab…");
  assert.equal(cut("abc", 3), "abc");
  assert.equal(line("x".repeat(1_000_000), 10), `${"x".repeat(10)}…`);
});

test("an excerpt counts what it leaves out", () => {
  assert.deepEqual(excerpt("a\nb\nc\n", 5), { lines: ["a", "b", "c"], more: 0 });
  assert.deepEqual(excerpt("a\nb\nc\nd\n", 2), { lines: ["a", "b"], more: 2 });
  assert.deepEqual(excerpt("a\n\nb", 2), { lines: ["a", ""], more: 1 });
  assert.deepEqual(excerpt("", 2), { lines: [""], more: 0 });
  assert.equal(excerpt("x\n".repeat(100_000), 10).more, 99_990);
});

test("a path is cut in its folders", () => {
  assert.deepEqual(pathParts("src/a/b.ts"), ["src/a/", "b.ts"]);
  assert.deepEqual(pathParts("b.ts"), ["", "b.ts"]);
});
