// All that the story, the files and a shared session say, in one place.

const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;

const numbers = new Intl.NumberFormat("en");
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const times = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

/** 12,345 */
export const count = (n: number): string => numbers.format(n);

/** 12.3k */
export function short(n: number): string {
  if (n < 1000) return String(n);
  if (n < 999_950) return `${(n / 1000).toFixed(n < 9_950 ? 1 : 0)}k`;
  return `${(n / 1_000_000).toFixed(1)}M`;
}

export function bytes(n: number): string {
  if (n < 1000) return plural(n, "byte");
  if (n < 999_500) return `${(n / 1000).toFixed(n < 9_950 ? 1 : 0)} kB`;
  return `${(n / 1_000_000).toFixed(1)} MB`;
}

/** How long something took. */
export function took(ms: number): string {
  if (ms < 950) return `${Math.round(ms)} ms`;
  if (ms < 59_500) return `${(ms / 1000).toFixed(ms < 9_950 ? 1 : 0)} s`;
  const minutes = Math.round(ms / 60_000);
  if (ms < 3_570_000) return ms < 600_000 ? `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s` : `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** How long a session took, which is known in seconds. */
export const lasted = (seconds: number): string => (seconds === 0 ? "under 1 s" : took(seconds * 1000));

/** Time since a session began: 0:07, 1:02:03. */
export function clock(seconds: number): string {
  const pad = (n: number): string => String(n).padStart(2, "0");
  const s = Math.max(0, Math.floor(seconds));
  const rest = `${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}`;
  return s < 3600 ? rest.replace(/^0/, "") : `${Math.floor(s / 3600)}:${rest}`;
}

export function moment(unix: number): string {
  return moments.format(unix * 1000);
}

export function timeOfDay(unix: number): string {
  return times.format(unix * 1000);
}

export function dollars(microusd: number): string {
  const usd = microusd / 1_000_000;
  if (usd === 0) return "$0";
  return usd < 0.01 ? `$${usd.toFixed(4)}` : `$${usd.toFixed(2)}`;
}

export const tokens = (n: number): string => `${short(n)} ${n === 1 ? "token" : "tokens"}`;

export const words = {
  plural,
  story: "What happened, step by step",
  step: (n: number): string => `step ${n}`,
  sorts: {
    talk: "Conversation",
    commands: "Commands",
    files: "Files",
    points: "Checkpoints",
    problems: "Problems",
    model: "Steps between",
  },
  filter: "Show only",
  path: "Only this path",
  clear: "Show all",
  search: "Search",
  searchHint: "Search this session  /",
  found: (at: number, of: number): string => (of === 0 ? "nothing found" : `${count(at)} of ${count(of)}`),
  searching: "searching…",
  searchEarlier: "Search earlier steps too",
  next: "Next",
  previous: "Previous",
  nothing: "Nothing like that in this session.",
  empty: "Nothing has happened yet.",
  loadEarlier: "Earlier steps",
  loading: "Loading…",
  toBeginning: "To the beginning",
  toEnd: "To the end",
  newBelow: (n: number): string => (n === 1 ? "1 new step below" : `${count(n)} new steps below`),
  said: (n: number): string => (n === 1 ? "1 new step" : `${count(n)} new steps`),
  keys: "j and k go from step to step, n and p from one find or problem to the next, / searches.",
  link: "Link to this step",
  copied: "Copied",
  copy: "Copy",
  leave: (host: string): string => `Open ${host}`,
  leaveAsk: "Where this leads. Nothing is opened before you say so.",
  showAll: (n: number): string => `Show ${plural(n, "more line")}`,
  showLess: "Show less",
  moreChars: (n: number): string => `… ${plural(n, "more character")}`,
  noOutput: "It printed nothing.",

  asked: "You asked",
  askedShared: "Asked",
  attached: (names: string): string => `With ${names}`,
  agent: "The agent",
  answer: "The answer",
  stopped: "Said before it stopped",
  private: "Private",
  privateAsk: "What was asked is private.",
  privateAnswer: (n: number): string => `It answered: ${bytes(n)}, kept private.`,
  withheld: (n: number): string => `${bytes(n)}, kept private`,
  privateNote: "This job was private: the record shows that something was said and done, not what.",
  started: (role: string, model: string): string => (model === "" || model === "none" ? role : `${role} with ${model}`),
  sandbox: (kind: string, network: string): string => {
    const where = kind === "" || kind === "embedded" ? "in a sandbox of its own" : `in a ${kind} container of its own`;
    if (network === "proxy") return `${where}, with a network of some hosts`;
    return network === "none" ? `${where}, without a network` : where;
  },
  reached: (host: string, n: number, sent: number, received: number): string =>
    `Reached ${host} (${plural(n, "connection")}, ${bytes(sent)} sent, ${bytes(received)} received)`,
  cloud: "the model runs at a provider, not on this computer",
  skipped: (n: number): string => `${plural(n, "path")} could not be copied`,
  ignored: (n: number): string => `${plural(n, "path")} that git ignores ${n === 1 ? "was" : "were"} left out`,
  details: "Details",
  asIsSigned: "The signed record",

  ran: "Ran",
  saysRan: "The agent says it ran this",
  isCheck: "Check of the result, on a copy",
  exit: (code: string): string => `exit ${code}`,
  saysFailed: "it says this failed",
  output: "Output",
  saysOutput: "Output, as the agent reports it",

  quiet: {
    says: (did: string): string => `the agent says it ${did}`,
    calls: (n: number): string => (n === 1 ? "asked the model" : `asked the model ${count(n)} times`),
    failed: (n: number): string => (n === 1 ? "once it gave no answer" : `${count(n)} times it gave no answer`),
    read: (n: number): string => `read ${plural(n, "file")}`,
    search: (n: number): string => (n === 1 ? "searched" : `searched ${count(n)} times`),
    edit: (n: number): string => (n === 1 ? "edited a file" : `made ${count(n)} edits`),
    other: (n: number): string => `used ${plural(n, "tool")}`,
  },
  call: (model: string, tokensIn: number, tokensOut: number): string =>
    `${model}: ${count(tokensIn)} tokens in, ${count(tokensOut)} out`,
  firstWord: (ms: number): string => `first word after ${took(ms)}`,
  callFailed: (code: string): string => `failed (${code})`,
  checked: "and so it is: the files say the same",

  ops: {
    create: "new",
    modify: "changed",
    delete: "deleted",
    mode: "rights changed",
    type: "became something else",
  } as Record<string, string>,
  aFile: "A file",
  binary: "This is no text, so there is nothing to compare.",
  emptyFile: "The file is empty.",
  becameProgram: "It can be run as a program now.",
  becameFile: "It can no longer be run as a program.",
  modes: { file: "file", program: "program", link: "link", folder: "folder" } as Record<string, string>,
  modeFromTo: (from: string, to: string): string => `${from} → ${to}`,
  linkTo: "This is a link. What it leads to:",
  noNewline: "no line break at the end",
  renamed: (from: string): string => `was ${from}`,
  unclaimed: "The agent did not say so",
  claimed: "As the agent said",
  many: (n: number): string => `${plural(n, "more file")} changed`,
  lines: (added: number, removed: number): string => `${plural(added, "line")} added, ${count(removed)} removed`,
  hunk: (old: number, fresh: number): string => `line ${old} before, line ${fresh} now`,
  diffOf: (path: string): string => `What changed in ${path}`,
  openFile: "Open the file",
  collapse: "Hide",
  expand: "Show what changed",

  cutText: (shown: number, all: number): string => `These are the first ${bytes(shown)} of ${bytes(all)}.`,
  loadWhole: "Load all of it",
  wholeNotHere: "The rest is kept by the treefort that made this record.",
  wholeFailed: "The rest could not be loaded.",

  /** Why a checkpoint was made, as records say it, and as people do. */
  reasons: {
    "the project as it was": "as it began",
    "what its owner attached": "with the files that you added",
    "after the turn": "when it was done",
    "before the turn": "before it went on",
  } as Record<string, string>,
  point: (n: number): string => `Checkpoint ${n}`,
  aPoint: "Checkpoint",
  pointOnLine: "A state that can be brought back",
  undoHere: "Undo to here",
  undoHereLong: (n: number): string => `Undo to here: bring checkpoint ${n} back`,
  files: "Files",
  filesAt: (n: number): string => `Files at checkpoint ${n}`,
  uncovered: (n: number): string => `does not hold ${plural(n, "path")}`,
  undoTitle: (n: number): string => `Back to checkpoint ${n}?`,
  undoWhat: (n: number): string =>
    n === 0 ? "The files are like that already: nothing would change." : `${plural(n, "file")} would change in the agent's copy. Your own folder stays as it is.`,
  undoSafe: "What is there now becomes a checkpoint first, so this can be undone too.",
  undoLeftOut: (n: number): string => `${plural(n, "path")} that no checkpoint holds ${n === 1 ? "stays" : "stay"} as ${n === 1 ? "it is" : "they are"}`,
  undoDo: "Bring it back",
  undoDoing: "Bringing it back…",
  undoLooking: "Looking what would change…",
  undoDone: (n: number): string => `Checkpoint ${n} is back.`,
  undoUndo: "Undo this",
  undoFailed: "That did not work.",
  cancel: "Cancel",
  wentBack: (n: string): string => `The files went back to checkpoint ${n}`,
  cutDiff: "More would change than is shown here.",

  problem: "A problem",
  failed: "This is why it stopped",
  differs: "The agent said one thing, the files say another",
  theAgentSaid: "The agent said",
  whatHappened: "What happened",
  nothingChanged: "Nothing changed there.",
  itSays: (did: string): string => `It ${did}.`,

  asks: "The agent asks",
  askedBefore: "It asked",
  until: (when: string): string => `It waits for you until ${when}.`,
  answeredBy: { owner: "You answered", time: "Nobody answered in time", policy: "Answered by your settings" } as Record<string, string>,
  answered: "Answered",
  answering: "Sending…",
  kinds: {
    allow_once: "Allow",
    allow_always: "Always allow",
    reject_once: "Do not allow",
    reject_always: "Never allow",
  } as Record<string, string>,

  listens: (port: string): string => `The app is listening on port ${port}`,
  listened: (port: string): string => `The app stopped listening on port ${port}`,
  open: "Open",
  opening: "Opening…",

  paused: "Paused",
  resumed: "Goes on",
  steered: "You said meanwhile",

  outcomes: {
    success: "Done",
    partial: "Done in part",
    failed: "Failed",
    abandoned: "Cut off when treefort stopped",
    interrupted: "Stopped",
  } as Record<string, string>,
  endings: {
    cancelled: "you stopped it",
    timeout: "it took longer than it may",
    exit: "the command failed",
    disk: "the copy took too much room",
    store: "the checkpoints took too much room",
  } as Record<string, string>,
  actions: (n: number): string => plural(n, "step"),
  problems: (n: number): string => plural(n, "problem"),
  checkpoints: (n: number): string => plural(n, "checkpoint"),
  filesChanged: (n: number): string => `${plural(n, "file")} changed`,
  gap: (n: number): string => `${plural(n, "step")} ${n === 1 ? "is" : "are"} missing here`,
  writing: "The agent is writing",

  fileTree: "Files",
  fileLines: (n: number): string => plural(n, "line"),
  now: "as it is now",
  fileBinary: (size: number): string => `This is no text (${bytes(size)}).`,
  fileMore: (left: number): string => `Load more (${bytes(left)} left)`,
  fileRedacted: "Secrets in it are left out here.",
  fileFailed: "This could not be read.",
  folderEmpty: "There is nothing in it.",
  folderCut: (n: number): string => `${plural(n, "more entry", "more entries")}`,
  chooseFile: "Choose a file to see what is in it.",
  back: "Back",

  suspect: "This is not what was signed",

  share: {
    by: (who: string): string => `A session of ${who}, recorded step by step by treefort`,
    untitled: "A session",
    answered: "Answered",
    privateTitle: "A private session",
    checking: (done: number, total: number): string => `Checking signatures: ${count(done)} of ${count(total)}`,
    good: (n: number): string => `${count(n)} of ${count(n)} steps verified; nothing left out`,
    open: (n: number): string => `${count(n)} of ${count(n)} steps verified; the session was still open, or its end was left out`,
    bad: "Do not trust this record",
    badCount: (good: number, all: number): string => `${count(good)} of ${count(all)} steps are what was signed`,
    problems: {
      changed: (at: string): string => `${at} is not what was signed`,
      twice: (at: string): string => `${at} is there twice`,
      missing: (at: string): string => `${at} is missing`,
      order: (at: string): string => `${at} does not follow the one before it`,
      start: (): string => "the beginning is missing",
      end: (): string => "the end is missing: the session had not ended, or its end was left out",
      count: (): string => "the end counts other steps than there are",
      strange: (): string => "there are lines in this file that are no entries of a record",
      version: (at: string): string => `${at} is in a form that this viewer does not know`,
    },
    step: (n: number): string => `Step ${n}`,
    other: "An entry beside the steps",
    more: (n: number): string => `and ${plural(n, "more problem")}`,
    just: "Your browser checked this just now, in this file, without a network.",
    how: "How is that known?",
    howText: [
      "Every step was signed the moment it happened, with a key that was made for this session alone and that the agent never had. Each names the one before it, so a step that was changed, left out or put in breaks the chain.",
    ],
    howNot: "It shows that nothing was changed afterwards. Who made the record is not in it: for that stands whoever gave you this file.",
    howDoubt: "A file can also lie about its own check. If that matters to you, check it with a program of your own:",
    command: "treefort verify FILE.html",
    others: (n: number): string => `Beside the steps there ${n === 1 ? "is" : "are"} ${plural(n, "more signed entry", "more signed entries")}: requests, answers, names.`,
    key: "Key of the session",
    time: "Time",
    model: "Model",
    tokens: "Tokens",
    cost: "Cost",
    local: "on the owner's own computer",
    unpriced: "price not known",
    files: "Files changed",
    commands: "Commands",
    problemsFound: "Problems",
    none: "none",
    changed: "What changed",
    andFiles: (n: number): string => `and ${plural(n, "more file")}`,
    map: "The session at a glance",
    mapStep: (what: string, when: string): string => `${what}, ${when}`,
    private: "This job was private. Its record shows when something was said and done, and what it took, but not what.",
    words: "This job was private. Its owner added what was asked and answered: the signatures cover only what these words were encrypted to.",
    empty: "There is no session in this file.",
    foot: "Made by treefort: AI agents that can build anything and break nothing, with every step on a signed record.",
    redacted: "Secrets were cut out before anything was signed.",
  },
};
