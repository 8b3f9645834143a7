import assert from "node:assert/strict";
import test from "node:test";

import { type Block, hostOf, markdown, type Span } from "../../../src/web/page/src/story/markdown";

/** Spans in short: `*em*` is <em>em</em>, a link <a text→address>. */
function short(spans: Span[]): string {
  return spans
    .map((span) => {
      if (typeof span === "string") return span;
      if (span.kind === "link") return `<${span.image ? "img" : "a"} ${short(span.spans)}→${span.href}>`;
      return "text" in span ? `<${span.kind}>${span.text}</${span.kind}>` : `<${span.kind}>${short(span.spans)}</${span.kind}>`;
    })
    .join("");
}

const tree = (block: Block): unknown => {
  switch (block.kind) {
    case "p":
      return short(block.spans);
    case "heading":
      return `# ${short(block.spans)}`;
    case "code":
      return { code: block.lines };
    case "rule":
      return "---";
    case "quote":
      return { quote: block.blocks.map(tree) };
    case "list":
      return { [block.ordered ? `from ${block.start}` : "list"]: block.items.map((item) => item.map(tree)) };
    case "table":
      return { align: block.align, head: block.head.map(short), rows: block.rows.map((row) => row.map(short)) };
  }
};
const read = (text: string): unknown[] => markdown(text).map(tree);
const line = (text: string): unknown => read(text)[0];

test("marks within a line", () => {
  assert.equal(line("*soft*, _soft_, **loud**, __loud__, ***both***, ~~gone~~"), "<em>soft</em>, <em>soft</em>, <strong>loud</strong>, <strong>loud</strong>, <strong><em>both</em></strong>, <del>gone</del>");
  assert.equal(line("**a *b* c** and *d **e** f* and **g *h***"), "<strong>a <em>b</em> c</strong> and <em>d <strong>e</strong> f</em> and <strong>g <em>h</em></strong>");
  assert.equal(line("`a *b* <c>` and ``a ` b``"), "<code>a *b* <c></code> and <code>a ` b</code>");
  assert.equal(line("snake_case_name, 2*3*4, a * b * c, 5 ** 2, \\*not\\*, *open, `open"), "snake_case_name, 2*3*4, a * b * c, 5 ** 2, *not*, *open, `open");
  assert.equal(line("<b>bold</b> &amp; <script>x</script>"), "<b>bold</b> &amp; <script>x</script>");
  assert.equal(line("It is $E = mc^2$ and \\(x\\), for $5 or $10, not $20,000 and $3."), "It is <math>E = mc^2</math> and <math>x</math>, for $5 or $10, not $20,000 and $3.");
});

test("links say where they lead", () => {
  assert.equal(line('[the *docs*](https://a.example/x_(y) "title") ![plan](p.png)'), "<a the <em>docs</em>→https://a.example/x_(y)> <img plan→p.png>");
  assert.equal(line("See https://a.example/b?c=d_e. And (https://a.example/(x)), <http://b.example>"), "See <a →https://a.example/b?c=d_e>. And (<a →https://a.example/(x)>), <a →http://b.example>");
  assert.equal(line("[no](has space) [no] (x) a[0](b)"), "[no](has space) [no] (x) a<a 0→b>");
  assert.equal(hostOf("https://google.com@evil.example/x"), "evil.example");
  assert.equal(hostOf("HTTPS://A.example:8080"), "a.example:8080");
  for (const other of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//evil.example", "/api/who", "https://", " https://a"]) assert.equal(hostOf(other), undefined, other);
});

test("blocks", () => {
  assert.deepEqual(read("# One\ntwo\nthree\n\n## Four ##\n---\n***"), ["# One", "two\nthree", "# Four", "---", "---"]);
  assert.deepEqual(read("> a\n> > b\n> - c\n\nd"), [{ quote: ["a", { quote: ["b"] }, { list: [["c"]] }] }, "d"]);
  assert.deepEqual(read("x\n```js\n# no\n  | a |\n\n```\ny"), ["x", { code: ["# no", "  | a |", ""] }, "y"]);
  assert.deepEqual(read("~~~~\n```\n~~~\n~~~~~\nz"), [{ code: ["```", "~~~"] }, "z"]);
  assert.deepEqual(read("```\nnever ends"), [{ code: ["never ends"] }]);
});

test("lists in lists", () => {
  assert.deepEqual(read("1. a\n   - b\n     - c\n   - d\n2. e"), [{ "from 1": [["a", { list: [["b", { list: [["c"]] }], ["d"]] }], ["e"]] }]);
  // As models write it: two blanks where three are due, empty lines between, code in an item.
  assert.deepEqual(read("1. a\n\n  * b\n\n2. c\n   ```\n   x\n     y\n   ```\n3. d\n   more"), [{ "from 1": [["a", { list: [["b"]] }], ["c", { code: ["x", "  y"] }], ["d\nmore"]] }]);
  assert.deepEqual(read("3) a\n4) b\n- c\n- [ ] d\n- [x] e\nafter"), [{ "from 3": [["a"], ["b"]] }, { list: [["c"], ["☐ d"], ["☑ e"]] }, "after"]);
  assert.deepEqual(read("text\n- a\n\n- b\n\nafter"), ["text", { list: [["a"], ["b"]] }, "after"]);
});

test("tables", () => {
  assert.deepEqual(read("| Tree | Age |\n|:-----|----:|\n| **Oak** | 300 |\n| a \\| b<br>c |\nafter"), [
    { align: ["left", "right"], head: ["Tree", "Age"], rows: [["<strong>Oak</strong>", "300"], ["a | b\nc", ""]] },
    "after",
  ]);
  assert.deepEqual(read("a | b\n--- | ---\n1 | 2 | 3"), [{ align: ["", ""], head: ["a", "b"], rows: [["1", "2"]] }]);
  assert.deepEqual(read("a | b\nc | d"), ["a | b\nc | d"]);
});

/** All the text that is in what was read. */
const words = (text: string): number => JSON.stringify(markdown(text)).length;

test("hostile text costs little, and none of it is lost", () => {
  const most = 60_000;
  const hostile = ["*", "**", "*a ", "_a ", "***a ** ", "`", "``a`", "[", "[](", "](", "![", "[a](b", "$", "$a ", "\\(", "~~", "<", "<http://", "http://", "> ", ">", "- ", "  - ", "1. ", "|", "|-", "| a ", "\\", "h", "#", "-", "- - ", "\t- ", " "];
  for (const piece of hostile) {
    for (const between of ["", "\n", "\n\n", " \n  "]) {
      const text = (piece + between).repeat(Math.ceil(most / (piece.length + between.length))).slice(0, most);
      const began = performance.now();
      markdown(text);
      const took = performance.now() - began;
      assert.ok(took < 1_500, `${JSON.stringify(piece + between)} took ${Math.round(took)} ms`);
    }
  }
  const rows = "| a | b |\n|---|---|\n" + `|${" x |".repeat(500)}\n`.repeat(20);
  markdown(rows);
  for (const spaces of ["- " + " ".repeat(most) + "x", `a|b\n---${" ".repeat(most)}x`, `\`${" ".repeat(15_000)}\``]) markdown(spaces);
  // Ever deeper: what is too deep is text.
  let deep = "";
  for (let n = 0; n < 200; n += 1) deep += `${"  ".repeat(n)}- ${n}x\n`;
  assert.match(JSON.stringify(markdown(deep)), /199x/);
  assert.match(JSON.stringify(markdown(`${">".repeat(5_000)} end`)), /end/);
  assert.ok(words("word *a* ".repeat(6_000)) > 30_000);
  assert.match(JSON.stringify(markdown(`${"- a\n".repeat(12_000)}\nthe end`)), /the end/);
});
