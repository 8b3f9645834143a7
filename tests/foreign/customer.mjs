// A NIP-90 customer made of other people's code: NDK, or nostr-tools with the way in which Coracle reads answers.
//
//   CUSTOMER_KEY=<64 hex> node customer.mjs --relay ws://… --provider <64 hex> --prompt "…"
//        [--library ndk|nostr-tools] [--mode plain|nip04|nip44] [--kind 5050] [--continue <event id>]
//        [--timeout 60] [--linger 300]
//
// It publishes one job and prints JSON lines: {"job": …} with the signed request, {"event": …} for each answer as
// the relay sent it, and last {"summary": …}. It exits with 0 when the job ended, however it ended, 1 when it did
// not end in time or something broke, 2 when it was called wrongly.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import WebSocket from 'ws';

// Both libraries use the platform's WebSocket where there is one; on every version of Node it shall be this one.
globalThis.WebSocket = WebSocket;

const ndk = await import('@nostr-dev-kit/ndk');
const tools = await import('nostr-tools');
const { Relay, useWebSocketImplementation } = await import('nostr-tools/relay');
useWebSocketImplementation(WebSocket);

const FEEDBACK = 7000;

function usage(message) {
  process.stderr.write(`error: ${message}\n`);
  process.exit(2);
}

function options() {
  const string = (fallback) => ({ type: 'string', default: fallback });
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        relay: string(process.env.CUSTOMER_RELAY),
        provider: string(process.env.CUSTOMER_PROVIDER),
        prompt: string(process.env.CUSTOMER_PROMPT),
        // A prompt that is too long for an argument.
        'prompt-file': string(undefined),
        library: string('ndk'),
        mode: string('plain'),
        kind: string('5050'),
        continue: string(undefined),
        timeout: string('60'),
        linger: string('300'),
      },
    }));
  } catch (error) {
    usage(error.message);
  }
  if (values['prompt-file']) values.prompt = readFileSync(values['prompt-file'], 'utf8');
  for (const name of ['relay', 'provider', 'prompt']) {
    if (!values[name]) usage(`--${name} is missing`);
  }
  const key = /^[0-9a-f]{64}$/;
  if (!key.test(process.env.CUSTOMER_KEY ?? '')) usage('CUSTOMER_KEY is not 64 hex digits');
  if (!key.test(values.provider)) usage('--provider is not 64 hex digits');
  if (!['plain', 'nip04', 'nip44'].includes(values.mode)) usage(`no mode ${values.mode}`);
  if (!Object.hasOwn(customers, values.library)) usage(`no library ${values.library}`);
  return { ...values, kind: Number(values.kind), key: process.env.CUSTOMER_KEY };
}

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const tag = (event, name) => event.tags.find((tag) => tag[0] === name);

// What the customer learned, in the order in which it learned it.
class Answers {
  constructor(job, provider) {
    this.job = job;
    this.provider = provider;
    this.feedback = [];
    this.sentences = [];
    this.partials = [];
    this.codes = [];
    this.results = [];
    this.order = [];
    this.broken = [];
    // What must hold for every answer; `null` until there is one.
    this.request_ok = null;
    this.first_e_ok = null;
    this.no_clear_input = null;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  holds(check, value) {
    this[check] = this[check] === null ? value : this[check] && value;
  }

  raw(event) {
    print({ event });
    if (!tools.verifyEvent({ ...event })) this.broken.push(`${event.id} does not verify`);
    if (event.pubkey !== this.provider) this.broken.push(`${event.id} is not by the provider`);
    this.holds('first_e_ok', tag(event, 'e')?.[1] === this.job.id);
    const encrypted = this.job.tags.some(([name]) => name === 'encrypted');
    if (encrypted) this.holds('no_clear_input', !event.tags.some(([name]) => name === 'i' || name === 'param'));
  }

  status([, status, sentence], content, code) {
    this.feedback.push(status);
    this.sentences.push(sentence ?? null);
    this.order.push(status);
    if (code) this.codes.push(code);
    if (status === 'partial') this.partials.push(content ?? '');
    if (status === 'success' || status === 'error') this.end(status);
  }

  result(content, request) {
    this.results.push(content);
    this.order.push('result');
    this.holds(
      'request_ok',
      request?.id === this.job.id && request?.sig === this.job.sig && tools.verifyEvent({ ...request }),
    );
  }

  summary(outcome) {
    const { job, feedback, sentences, partials, codes, order, broken } = this;
    return {
      outcome,
      job: job.id,
      feedback,
      sentences,
      partials,
      code: codes[0] ?? null,
      result: this.results[0] ?? null,
      results: this.results.length,
      order,
      request_ok: this.request_ok,
      first_e_ok: this.first_e_ok,
      no_clear_input: this.no_clear_input,
      broken,
    };
  }
}

// Answers are read one after the other, also where reading one means waiting for a decryption.
function inOrder(answers, read) {
  let last = Promise.resolve();
  return (event) => {
    last = last.then(() => read(event)).catch((error) => {
      answers.broken.push(String(error));
    });
  };
}

const customers = {
  // NDK as its own `dvmSchedule` does it, with its own classes for the request and both kinds of answer.
  async ndk({ relay, provider, prompt, mode, kind, key, continue: earlier }) {
    // A signer without NIP-44 is how NDK comes to write NIP-04. NDK asks whether the answer is true, and an empty
    // list is.
    class Legacy extends ndk.NDKPrivateKeySigner {
      async encryptionEnabled(scheme) {
        return scheme === 'nip44' ? null : ['nip04'];
      }
    }
    const signer = new ndk.NDKPrivateKeySigner(key);
    const pool = new ndk.default({ explicitRelayUrls: [relay], signer, enableOutboxModel: false });
    await pool.connect(5000);
    const dvm = pool.getUser({ pubkey: provider });

    const request = new ndk.NDKDVMRequest(pool, { kind });
    request.addInput(prompt, 'text');
    request.addParam('temperature', '0.2');
    request.output = 'text/plain';
    request.bid = 1000;
    if (earlier) request.tags.push(['e', earlier]);
    if (mode === 'plain') request.dvm = dvm;
    else if (mode === 'nip44') await request.encryption(dvm);
    else await encryptLegacy(request, dvm, new Legacy(key));
    await request.sign();

    const answers = new Answers(request.rawEvent(), provider);
    const read = async (event) => {
      answers.raw(event.rawEvent());
      if (event.kind === FEEDBACK) {
        const feedback = await ndk.NDKDVMJobFeedback.from(event);
        const status = feedback.getMatchingTags('status').at(-1) ?? ['status', feedback.status];
        const content = feedback.encrypted ? feedback.tagValue('content') : feedback.content;
        answers.status(status, content, feedback.tagValue('code'));
        if (feedback.status !== status[1]) answers.broken.push(`NDK says ${feedback.status}, the tags ${status[1]}`);
        return;
      }
      const result = ndk.NDKDVMJobResult.from(event);
      if (tag(event, 'encrypted')) await result.decrypt(dvm);
      if (result.jobRequestId !== request.id) answers.broken.push(`NDK takes it for job ${result.jobRequestId}`);
      answers.result(result.result, result.jobRequest?.rawEvent());
    };
    const subscription = pool.subscribe(
      { kinds: [kind + 1000, FEEDBACK], ...request.filter() },
      { groupable: false, closeOnEose: false, onEvent: inOrder(answers, read) },
    );
    await request.publish(undefined, 5000);
    return {
      answers,
      close() {
        subscription.stop();
        for (const connected of pool.pool.relays.values()) connected.disconnect();
      },
    };

    async function encryptLegacy(event, to, legacy) {
      await event.encryption(to, legacy);
      if (!event.content.includes('?iv=')) throw new Error('NDK did not write NIP-04');
    }
  },

  // nostr-tools for the wire; feedback is read as Coracle's NoteCreate reads it.
  async 'nostr-tools'({ relay, provider, prompt, mode, kind, key, continue: earlier }) {
    const secret = Uint8Array.from(Buffer.from(key, 'hex'));
    const conversation = tools.nip44.v2.utils.getConversationKey(secret, provider);
    const scheme = {
      nip04: {
        encrypt: (text) => tools.nip04.encrypt(secret, provider, text),
        decrypt: (text) => tools.nip04.decrypt(secret, provider, text),
      },
      nip44: {
        encrypt: (text) => tools.nip44.v2.encrypt(text, conversation),
        decrypt: (text) => tools.nip44.v2.decrypt(text, conversation),
      },
    }[mode];

    const inputs = [['i', prompt, 'text'], ['param', 'top-k', '40'], ['relays', relay]];
    const tags = [['p', provider], ['expiration', String(now() + 3600)]];
    if (earlier) tags.push(['e', earlier]);
    const template = scheme
      ? {
          content: await scheme.encrypt(JSON.stringify(inputs)),
          tags: [...tags, ['encrypted']],
        }
      : { content: 'NIP 90 request', tags: [...inputs, ...tags] };
    const job = tools.finalizeEvent({ kind, created_at: now(), ...template }, secret);

    const answers = new Answers(plain(job), provider);
    const read = async (event) => {
      answers.raw(plain(event));
      const encrypted = tag(event, 'encrypted') !== undefined;
      const content = encrypted ? await scheme.decrypt(event.content) : event.content;
      if (event.kind !== FEEDBACK) {
        answers.result(content, JSON.parse(tag(event, 'request')[1]));
        return;
      }
      if (!encrypted) {
        answers.status(tag(event, 'status'), content, tag(event, 'code')?.[1]);
        return;
      }
      // Coracle shows the third element of the first tag, or its second.
      const all = JSON.parse(content);
      if (all[0][0] !== 'status') throw new Error(`the first tag is ${JSON.stringify(all[0])}`);
      const find = (name) => all.find(([first]) => first === name)?.[1];
      answers.status(all[0], find('content'), find('code'));
    };
    const connection = await Relay.connect(relay);
    const subscription = connection.subscribe(
      [{ kinds: [kind + 1000, FEEDBACK], since: now() - 30, '#e': [job.id] }],
      { onevent: inOrder(answers, read) },
    );
    await connection.publish(job);
    return {
      answers,
      close() {
        subscription.close();
        connection.close();
      },
    };
  },
};

function now() {
  return Math.floor(Date.now() / 1000);
}

// The seven members of an event, without what a library remembers about it.
function plain({ id, pubkey, created_at, kind, tags, content, sig }) {
  return { id, pubkey, created_at, kind, tags, content, sig };
}

const chosen = options();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
try {
  const { answers, close } = await customers[chosen.library](chosen);
  print({ job: answers.job });
  const outcome = await Promise.race([answers.ended, sleep(Number(chosen.timeout) * 1000).then(() => 'timeout')]);
  // What comes after the end would be wrong, and shall be seen.
  await sleep(Number(chosen.linger));
  print({ summary: answers.summary(outcome) });
  close();
  process.exit(outcome === 'timeout' ? 1 : 0);
} catch (error) {
  process.stderr.write(`error: ${error?.stack ?? error}\n`);
  process.exit(1);
}
