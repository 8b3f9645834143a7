// OpenCode's own tools, described in fewer words. Every call of the model carries these texts, and a model
// on this machine reads them before its first word; what the tools do and check stays as it is.
const text = (description) => ({ type: "string", description })
const number = (description) => ({ type: "integer", description })
const tool = (description, required, properties) => ({
  description,
  jsonSchema: { type: "object", properties, required },
})

const path = text("Absolute path")
const tools = {
  bash: tool(
    "Runs a shell command in /workspace. Output over 2000 lines is cut and kept in a file. To find or change files prefer the other tools.",
    ["command"],
    { command: text("The command"), workdir: text("Another directory to run it in"), timeout: number("Milliseconds; 120000 if not given") },
  ),
  read: tool(
    "Reads a file, or lists a directory. Lines come as `<number>: <text>`, at most 2000 at once.",
    ["filePath"],
    { filePath: path, offset: number("First line, from 1"), limit: number("Number of lines") },
  ),
  edit: tool(
    "Replaces a text in a file that you have read. oldString must be exactly as in the file, without line numbers, and occur once unless replaceAll is set.",
    ["filePath", "oldString", "newString"],
    {
      filePath: path,
      oldString: text("The text to replace"),
      newString: text("The text to put there"),
      replaceAll: { type: "boolean", description: "Replaces every occurrence" },
    },
  ),
  write: tool(
    "Writes a whole file: a new one, or one that you have read. To change a part use edit.",
    ["filePath", "content"],
    { filePath: path, content: text("The whole text") },
  ),
  glob: tool("Finds files by name.", ["pattern"], { pattern: text("Like **/*.ts"), path: text("Directory to search") }),
  grep: tool("Searches files' contents.", ["pattern"], {
    pattern: text("Regular expression"),
    path: text("Directory to search"),
    include: text("Files to search, like *.ts"),
  }),
}

export default async () => ({
  "tool.definition": async (input, output) => {
    Object.assign(output, tools[input.toolID])
  },
})
