// The seven views, in the order in which they answer questions.

import { useRef, useState } from './vendor/parts.js'
import { Chart, Facts, Field, Notice, State, Table, html, inWords, useAction } from './elements.js'
import { useLive } from './live.js'
import { say, sayCheck } from './findings.js'
import { duration, knows, moment, number, share, since, size, t, visible } from './words.js'
import { go, here } from './route.js'

const HISTORY = 150

function Health() {
  const state = useLive('health', {}, { everyMs: 5_000 })
  const fleet = useLive('fleet')
  if (state.data === null) return html`<${Notice} state=${state} />`
  const { checks, guarantee, age_s: age } = state.data
  const worst = checks[0]?.state
  const tone = worst === 'fail' ? 'bad' : worst === 'warn' ? 'doubtful' : 'good'
  const notWell = checks.filter(({ state: one }) => one === 'fail' || one === 'warn')
  const rest = checks.filter((one) => !notWell.includes(one))
  return html`<p class="verdict ${tone}" role="status">${t(`verdict_${tone}`)} <small>${t('examined', { age: since(age) })}</small></p>
    ${notWell.length > 0 && html`<${Table} caption=${t('look_at')} filter=${false} rows=${notWell} columns=${[
      ...CHECK, { key: 'follows', label: t('follows'), wide: true, show: inWords(say) },
      { key: 'mend', label: t('mend'), wide: true, show: (value) => value && html`<code>${inWords(say)(value)}</code>` },
    ]} />`}
    <details open=${notWell.length === 0}><summary>${t('in_order', { count: number(rest.filter((one) => one.state === 'pass').length) })}</summary>
      <${Table} caption=${t('in_order_caption')} filter=${false} rows=${rest} columns=${CHECK} /></details>
    ${fleet.data === null && fleet.error && html`<p class="notice bad">${t('no_processes')} ${inWords(say)(fleet.error.message)}</p>`}
    ${fleet.data && html`<${Table} caption=${t('processes')} empty=${t('empty_processes')} rows=${fleet.data.processes}
      link=${(row) => `#/overview?${new URLSearchParams({ process: row.name })}`} columns=${[
        { key: 'name', label: t('process') },
        { key: 'age_s', label: t('heard'), number: true, show: (value, row) => html`<${Heard} age=${value} stale=${row.is_stale} />` },
        { key: 'memory_serves', label: t('memory_on'), show: (value) => t(value ? 'serves' : 'off') },
        { key: 'reads', label: t('reads_n'), number: true, show: (value) => number(value) },
        { key: 'memory_bytes', label: t('bytes'), number: true, show: size },
        { key: 'uptime_s', label: t('uptime'), number: true, show: duration },
        { key: 'version', label: t('version') },
        { key: 'why', label: t('found'), wide: true, show: inWords(say) },
      ]} />`}
    <${Facts} named caption=${t('promises')} facts=${guarantee} />`
}

const Heard = ({ age, stale }) => html`<span class=${stale ? 'state fail' : ''}>${since(age)}</span>`

const CHECK = [
  { key: 'check', get label() { return t('check') }, show: inWords(sayCheck) },
  { key: 'state', get label() { return t('state') }, show: (value) => html`<${State} state=${value} />` },
  { key: 'found', get label() { return t('found') }, wide: true, show: inWords(say) },
]

const SOURCES = ['memory', 'redis', 'load', 'waited', 'stale', 'none']

function Overview() {
  const { parameters } = here()
  const state = useLive('overview', parameters)
  const history = useRef([])
  const { data } = state
  if (data && history.current.at(-1) !== data) history.current = [...history.current, data].slice(-HISTORY)
  if (data === null) return html`<${Notice} state=${state} />`
  const all = SOURCES.reduce((sum, name) => sum + (data.reads[name] ?? 0), 0)
  const points = history.current
  const rates = (name) => points.map((point, at) => {
    const before = points[at - 1]
    return before ? Math.max(0, (point.reads[name] - before.reads[name]) / Math.max(point.at - before.at, 0.001)) : 0
  })
  return html`<${Alone} data=${data} /><p>${parameters.process ? html`${t('of_process', parameters)} <a href="#/overview">${t('of_all')}</a>` : t('of_processes', { count: number(data.processes) })}</p>
    <${Chart} label=${t('reads_second')} times=${points.map((point) => point.at)}
      series=${SOURCES.filter((name) => name !== 'none').map((name) => ({ label: t(name), values: rates(name) }))} />
    <${Table} caption=${t('reads')} filter=${false} rows=${SOURCES.map((name) => ({ name: t(name), count: data.reads[name] ?? 0 }))} columns=${[
      { key: 'name', label: t('source') },
      { key: 'count', label: t('count'), number: true, show: (value) => number(value) },
      { key: 'share', label: t('share'), number: true, show: (_, row) => share(row.count, all) },
    ]} />
    <${Table} caption=${t('misses_why')} filter=${false} rows=${Object.entries(data.misses).map(([name, count]) => ({ name: t(`miss_${name}`), count }))} columns=${[
      { key: 'name', label: t('reason') },
      { key: 'count', label: t('count'), number: true, show: (value) => number(value) },
    ]} />
    ${data.latencies.length > 0 && html`<${Table} caption=${t('latency')} filter=${false} columns=${[
      { key: 'operation', label: t('operation') },
      { key: 'count', label: t('count'), number: true, show: (value) => number(value) },
      { key: 'median_s', label: t('median'), number: true, show: duration },
      { key: 'p99_s', label: t('p99'), number: true, show: duration },
    ]} rows=${data.latencies.map((one) => ({ ...one, operation: t(`op_${one.operation}`) }))} />`}
    <dl class="figures">${['used', 'saved', 'saved_calls'].map((name) => html`<div><dt>${t(`tokens_${name}`)}</dt><dd>${number(data.tokens[name])}</dd></div>`)}
      ${data.tokens.saved_micros > 0 && html`<div><dt>${t('money_saved')}</dt><dd>${number(data.tokens.saved_micros / 1e6, 2)}</dd></div>`}</dl>
    <${Facts} named caption=${t('more')} facts=${data.facts} />`
}

// Without the server a process knows its own figures only: they must not be taken for everybody's.
const Alone = ({ data }) => (data.alone ? html`<p class="notice bad" role="status">${t('alone')} ${inWords(say)(data.alone)}</p>` : null)

// What is typed counts until the address changes, as with Back: then the form says what the answer is about.
function useFields(parameters) {
  const address = JSON.stringify(parameters)
  const [typed, setTyped] = useState({ address, fields: parameters })
  return [typed.address === address ? typed.fields : parameters, (fields) => setTyped({ address, fields })]
}

const TENANT_COLUMNS = ['entries', 'bytes', 'hits', 'misses', 'loads', 'load_failures', 'evictions', 'expirations']

function Tenants() {
  const { parameters } = here()
  const [given, setGiven] = useFields(parameters)
  const state = useLive('tenants', parameters, { everyMs: 5_000 })
  const columns = TENANT_COLUMNS.map((key) => ({ key, label: t(key), number: true, show: key === 'bytes' ? size : (value) => number(value) }))
  const form = html`<form class="fields" onSubmit=${(event) => { event.preventDefault(); go('tenants', given) }}>
      <${Field} name="tenant" label=${t('one_tenant')} value=${given.tenant} onInput=${(event) => setGiven({ tenant: event.target.value })} />
      <p class="buttons"><button class="main">${t('show')}</button> ${parameters.tenant && html`<a href="#/tenants" onClick=${() => setGiven({})}>${t('all_tenants')}</a>`}</p></form>`
  if (state.data === null) return html`${form}<${Notice} state=${state} />`
  const { rows, asked, answered } = state.data
  return html`${form}<${Alone} data=${state.data} />
    ${parameters.tenant && html`<p role="status">${t('asked_processes', { asked: number(asked), answered: number(answered) })}</p>`}
    <${Table} caption=${t('tenants')} empty=${t(parameters.tenant ? 'empty_tenant' : 'empty_tenants')}
      rows=${rows.map((row) => ({ ...row, tenant_id: row.tenant_id === '_other' ? t('others') : row.tenant_id, data_type: row.data_type === '_other' ? t('others') : row.data_type }))}
      columns=${[{ key: 'tenant_id', label: t('tenant') }, { key: 'data_type', label: t('type') }, ...columns]} />`
}

const PARTS = [['type', 'type', true], ['id', 'id', true], ['tenant', 'tenant', true], ['agent_id', 'agent'], ['conversation_id', 'conversation'], ['collection_id', 'collection'], ['user_id', 'user'], ['permissions', 'permissions']]

function Explain({ about }) {
  const { parameters } = here()
  const [given, setGiven] = useFields(parameters)
  const ready = Boolean(parameters.type && parameters.id && parameters.tenant)
  const state = useLive('explain', parameters, { on: ready, everyMs: 10_000 }) // each asks every process
  const action = useAction()
  const put = (name) => (event) => setGiven({ ...given, [name]: event.target.value })
  const drop = () => action.begin('invalidate', { tenant: parameters.tenant, type: parameters.type, id: parameters.id },
    t('ask_invalidate', { which: visible(`${parameters.type} ${parameters.id}`), tenant: visible(parameters.tenant) }))
  return html`<form class="fields" onSubmit=${(event) => { event.preventDefault(); go('explain', given) }}>
      ${PARTS.map(([name, label, needed]) => html`<${Field} name=${name} label=${t(label)} value=${given[name]} required=${Boolean(needed)} onInput=${put(name)} />`)}
      <p class="buttons"><button class="main">${t('why')}</button></p></form>
    ${ready ? html`<${Notice} state=${state} />` : html`<p class="notice">${t('name_an_entry')}</p>`}
    ${ready && state.data && html`<section aria-live="polite">
      <p class="verdict ${state.data.sentences[1]?.tone ?? 'plain'}">${knows(`why_${state.data.data.reason}`) ? t(`why_${state.data.data.reason}`) : ''}</p>
      <p class="sentence">${inWords(say)(visible(state.data.data.sentence, 2_000))}</p></section>
      <p class="buttons"><a href=${location.href}>${t('link')}</a>
        ${about.actions && html`<button type="button" class="danger" onClick=${drop}>${t('invalidate')}</button>`}</p>
      ${action.view}
      <${Processes} found=${state.data.data} />
      <${Facts} caption=${t('facts')} facts=${state.data.data.facts} />`}`
}

function Processes({ found }) {
  const all = [{ process: t('this_process'), ...found.facts }, ...(found.processes ?? [])]
  const rows = all.map(({ process, error, memory, loading }) => ({ name: process, ...(memory ?? {}), loading: loading ?? null, error }))
  return html`<${Table} caption=${t('in_each_process')} rows=${rows} columns=${[
    { key: 'name', label: t('process') },
    { key: 'fresh_for_s', label: t('in_memory'), show: (value, row) => (row.error ? inWords(say)(row.error) : value == null ? t('not_there') : row.alive === false ? t('why_invalidated') : duration(value)) },
    { key: 'hits', label: t('hits'), number: true, show: (value) => number(value) },
    { key: 'bytes', label: t('bytes'), number: true, show: size },
    { key: 'loading', label: t('loads_it'), show: (value) => (value == null ? '–' : t(value ? 'yes_word' : 'no')) },
  ]} />`
}

function Queues({ about }) {
  const { parameters } = here()
  const queues = useLive('queues')
  const locks = useLive('locks')
  const number_ = (key, label) => ({ key, label: t(label ?? key), number: true, show: (value) => number(value) })
  return html`<${Notice} state=${queues} />
    ${queues.data && html`<${Table} caption=${t('queue_list')} empty=${t('empty_queues')} rows=${queues.data.data.queues}
      link=${(row) => `#/queues?${new URLSearchParams({ tenant: row.tenant_id, queue: row.queue })}`} columns=${[
        { key: 'queue', label: t('queue') }, { key: 'tenant_id', label: t('tenant') },
        number_('ready'), number_('delayed'), number_('in_flight'), number_('dead'),
        { key: 'oldest_age_s', label: t('oldest_age_s'), number: true, show: duration },
      ]} />`}
    ${queues.data?.last.map(({ text }) => html`<p class="notice">${inWords(say)(text)}</p>`)}
    ${queues.data && parameters.queue && parameters.tenant && html`<${Letters} key=${`${parameters.tenant} ${parameters.queue}`} about=${about} ...${parameters} />`}
    ${locks.data && html`<${Table} caption=${t('locks')} empty=${t('empty_locks')} rows=${locks.data.data.locks} columns=${[
      { key: 'name', label: t('lock') }, { key: 'tenant_id', label: t('tenant') },
      ...(locks.data.data.locks.some((lock) => lock.process) ? [{ key: 'process', label: t('process') }] : []),
      { key: 'left_s', label: t('left_s'), number: true, show: duration }, { key: 'fence', label: t('fence'), number: true }, number_('waiting'),
    ]} />${locks.data.last.map(({ text }) => html`<p class="notice">${inWords(say)(text)}</p>`)}`}`
}

function Letters({ tenant, queue, about }) {
  const [count, setCount] = useState(0)
  const state = useLive('dead', { tenant, queue, count }, { everyMs: 5_000 })
  const [chosen, setChosen] = useState(new Set())
  const action = useAction(() => { setChosen(new Set()); setCount(count + 1) })
  if (state.data === null) return html`<${Notice} state=${state} />${action.view}`
  const rows = state.data.data.dead
  const keep = (row, on) => { const next = new Set(chosen); on ? next.add(row.id) : next.delete(row.id); setChosen(next) }
  const all = (shown, on) => { const next = new Set(chosen); shown.forEach((row) => (on ? next.add(row.id) : next.delete(row.id))); setChosen(next) }
  const there = rows.filter((row) => chosen.has(row.id)).map((row) => row.id)
  const which = there.length ? t('some_letters', { count: number(there.length) }) : t('all_letters')
  const act = (name) => action.begin(name, { tenant, queue, ...(there.length ? { ids: there } : {}) }, t(`ask_${name}`, { which, queue: visible(queue), tenant: visible(tenant) }))
  const title = t('dead_letters', { queue, tenant })
  return html`${about.actions && rows.length > 0 && html`<p class="buttons"><span>${which}:</span>
      <button type="button" onClick=${() => act('replay')}>${t('replay')}</button>
      <button type="button" class="danger" onClick=${() => act('discard')}>${t('discard')}</button></p>`}
    ${action.view}
    <${Table} caption=${title} empty=${t('empty_dead')} rows=${rows} choose=${about.actions ? { chosen, one: keep, all } : null} columns=${[
      { key: 'id', label: t('id') }, { key: 'reason', label: t('reason'), wide: true, show: (value) => visible(value, 400) },
      { key: 'attempts', label: t('attempts'), number: true }, { key: 'died_at', label: t('died_at'), whole: true, show: (value) => moment(Date.parse(value) / 1000) },
      { key: 'value', label: t('value'), wide: true, show: (value) => html`<code>${visible(value, 400)}</code>` },
    ]} />`
}

function Tokens() {
  const { parameters } = here()
  const [given, setGiven] = useFields(parameters)
  const state = useLive('tokens', parameters, { on: Boolean(parameters.tenant), everyMs: 5_000 })
  const put = (name) => (event) => setGiven({ ...given, [name]: event.target.value })
  const found = state.data?.data
  return html`<form class="fields" onSubmit=${(event) => { event.preventDefault(); go('tokens', given) }}>
      <${Field} name="tenant" label=${t('tenant')} value=${given.tenant} required onInput=${put('tenant')} />
      <${Field} name="day" label=${t('day')} value=${given.day} onInput=${put('day')} />
      <${Field} name="month" label=${t('month')} value=${given.month} onInput=${put('month')} />
      <p class="buttons"><button class="main">${t('show')}</button></p></form>
    ${parameters.tenant ? html`<${Notice} state=${state} />` : html`<p class="notice">${t('name_a_tenant')}</p>`}
    ${found && html`<dl class="figures">
        ${['used', 'saved', 'calls', 'backlog'].map((name) => html`<div><dt>${t(name)}</dt><dd>${number(found[name])}</dd></div>`)}</dl>
      <p class="notice">${t('no_price')}</p>
      <${Table} caption=${t('tokens')} empty=${t('empty_tokens')} rows=${found.rows.map((row) => ({ ...row, kind: t(row.saved ? 'saved' : 'used') }))} columns=${[
        { key: 'model', label: t('model') }, { key: 'token_type', label: t('token_type') }, { key: 'operation', label: t('operation') },
        { key: 'kind', label: t('state') },
        { key: 'tokens', label: t('tokens_n'), number: true, show: (value) => number(value) },
        { key: 'calls', label: t('calls'), number: true, show: (value) => number(value) },
      ]} />`}`
}

const name = (what) => { const key = `event_${what.replace('console:', '')}`; return knows(key) ? t(key) : what }
const shorten = (value) => (typeof value === 'number' ? number(value, 3) : value)

function Log() {
  const state = useLive('log')
  if (state.data === null) return html`<${Notice} state=${state} />`
  const rows = state.data.lines.map((line) => ({
    at: line.at,
    what: name(line.what),
    facts: Object.entries(line.facts).map(([name, value]) => `${name}=${shorten(value)}`).join(' '),
  }))
  return html`<${Table} caption=${t('log')} empty=${t('empty_log')} rows=${rows} columns=${[
    { key: 'at', label: t('when'), whole: true, show: moment }, { key: 'what', label: t('what') },
    { key: 'facts', label: t('facts'), wide: true, show: (value) => html`<code lang="en">${visible(value, 400)}</code>` },
  ]} />`
}

export const VIEWS = { health: Health, overview: Overview, tenants: Tenants, explain: Explain, queues: Queues, tokens: Tokens, log: Log }
