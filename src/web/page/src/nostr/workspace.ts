// What a workspace task answers (nips/workspace.md, Result: kind 6871).

export interface AnswerBase {
  workspace?: string;
  project?: string;
  path?: string;
  title?: string;
  at?: number;
}

export interface FileLine {
  path: string;
  op: string;
  added: number;
  removed: number;
}

export interface DiffAnswer extends AnswerBase {
  files: FileLine[];
  changed: number;
  text: string;
  cut: boolean;
  left_out?: string[];
  left_out_in_all?: number;
  /** How many applies can be taken back. */
  earlier?: number;
}

export interface CheckpointLine {
  number: number;
  commit: string;
  tree: string;
  reason: string;
  at: number;
  changed: number;
}

export interface CheckpointsAnswer extends AnswerBase {
  checkpoints: CheckpointLine[];
  earlier?: number;
}

export interface UndoAnswer extends AnswerBase {
  before: number;
  to: number;
  after: number;
  written: number;
  removed: number;
  uncovered: string[];
  uncovered_in_all?: number;
  moved?: string[];
  unrecorded?: string;
}

export interface Kept {
  path: string;
  why: string;
}

export interface Step {
  path: string;
  action: string;
  notes?: string[];
}

export interface PlanAnswer extends AnswerBase {
  plan: string;
  steps: Step[];
  total: number;
  conflicts: number;
  hidden?: Record<string, number>;
  earlier?: number;
  settled?: number;
  unsettled?: Kept[];
}

export interface ApplyAnswer extends AnswerBase {
  written: number;
  removed: number;
  conflicts: string[];
  in_conflict?: number;
}

export interface TakeBackAnswer extends AnswerBase {
  restored: number;
  merged?: number;
  kept?: Kept[];
  kept_in_all?: number;
  earlier?: number;
}

export interface DiscardAnswer extends AnswerBase {
  bytes: number;
  files: number;
}

export interface PurgeAnswer extends AnswerBase {
  done: boolean;
  sessions_in_all: number;
  jobs: number;
  events: number;
  blobs: number;
  copies: number;
  applied: number;
  /** Events of it that others have or may get at any moment. */
  shared?: number;
  erased: boolean;
}

export interface LocateAnswer extends AnswerBase {
  agents_git?: boolean;
  repositories?: string[];
}

export interface CopyLine {
  workspace: string;
  project?: string | null;
  title: string;
  at: number;
  bytes: number;
  work: boolean;
  busy: boolean;
}

export interface ListAnswer extends AnswerBase {
  copies: CopyLine[];
  total?: number;
  images: { name: string; bytes: number }[];
  checkpoints: number;
}

export interface CleanAnswer extends AnswerBase {
  copies: number;
  images: number;
  containers: number;
  bytes: number;
  left?: string[];
}
