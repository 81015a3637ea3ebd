// The elements that every view is made of: html, tables, states, charts, and the question that comes before an action.

import { h, htm, uPlot, useEffect, useMemo, useRef, useState } from './vendor/parts.js'
import { confirm, question } from './api.js'
import { say } from './findings.js'
import { clock, knows, number, size, t, visible } from './words.js'

export const html = htm.bind(h)

export function Notice({ state }) {
  if (state.error && state.data === null) return html`<p class="notice bad" role="alert">${inWords(say)(state.error.message)}</p>`
  if (state.data === null) return html`<p class="notice" role="status">${t('loading')}</p>`
  return null
}

// Shows what the server says in the language of the page, or marks it as English.
export const inWords = (speak) => (text) => {
  const { words, lang } = speak(text)
  return html`<span lang=${lang}>${words}</span>`
}

export const State = ({ state }) => html`<span class="state ${state}">${t(`state_${state}`)}</span>`

// A table that sorts by each column and filters by all. `columns`: { key, label, show?, number?, whole?, wide? }; `empty` says
// what it means that there is no row.
export function Table({ caption, columns, rows, choose, filter: filtered = true, link, empty }) {
  const [order, setOrder] = useState({ key: null, down: true })
  const [filter, setFilter] = useState('')
  const shown = useMemo(() => {
    const words = filter.toLowerCase()
    const found = words ? rows.filter((row) => columns.some(({ key }) => String(row[key] ?? '').toLowerCase().includes(words))) : [...rows]
    if (order.key !== null) {
      const way = order.down ? -1 : 1
      found.sort((a, b) => way * compare(a[order.key], b[order.key]))
    }
    return found
  }, [rows, filter, order, columns])
  const most = 500
  const name = `filter-${caption.replace(/\W+/g, '-')}`
  const title = visible(caption)
  return html`<section class="table">
    ${filtered && rows.length > 5 && html`<p class="filter"><label for=${name}>${t('filter')}</label>
      <input id=${name} type="search" value=${filter} onInput=${(event) => setFilter(event.target.value)} />
      <span role="status">${t('shown', { shown: number(Math.min(shown.length, most)), all: number(rows.length) })}</span></p>`}
    <div class="scroll" tabindex="0" role="region" aria-label=${title}>
      <table><caption>${title}</caption>
        <thead><tr>${choose && html`<th scope="col" class="choice"><input type="checkbox" aria-label=${t('choose_all')}
            checked=${shown.length > 0 && shown.every((row) => choose.chosen.has(row.id))}
            onChange=${(event) => choose.all(shown, event.target.checked)} /></th>`}
          ${columns.map((column) => html`<th scope="col" class=${column.number ? 'number' : ''}
            aria-sort=${order.key === column.key ? (order.down ? 'descending' : 'ascending') : 'none'}>
            <button type="button" class="sort" onClick=${() => setOrder({ key: column.key, down: order.key !== column.key || !order.down })}>
              ${column.label}<span aria-hidden="true">${order.key === column.key ? (order.down ? ' ▾' : ' ▴') : ''}</span></button></th>`)}
        </tr></thead>
        <tbody>${shown.slice(0, most).map((row) => html`<tr>
          ${choose && html`<td class="choice"><input type="checkbox" aria-label=${`${t('choose')} ${visible(row.id)}`} checked=${choose.chosen.has(row.id)}
            onChange=${(event) => choose.one(row, event.target.checked)} /></td>`}
          ${columns.map((column, at) => html`<td class=${kindOf(column, row)}>${cell(column, row, at === 0 ? link?.(row) : null)}</td>`)}
        </tr>`)}</tbody>
      </table>
      ${shown.length === 0 && html`<p class="notice">${shown.length === rows.length && empty ? empty : t('nothing')}</p>`}
    </div></section>`
}

const LONGEST_WORD = 24

function kindOf(column, row) {
  if (column.number) return 'number'
  if (column.whole) return 'whole'
  const unbroken = visible(String(row[column.key] ?? '')).split(/[\s-]+/).some((word) => word.length > LONGEST_WORD)
  return [column.wide && 'wide', unbroken && 'unbroken'].filter(Boolean).join(' ')
}

function cell(column, row, href) {
  const text = column.show ? column.show(row[column.key], row) : visible(String(row[column.key] ?? '–'))
  return href ? html`<a href=${href}>${text}</a>` : text
}

function compare(a, b) {
  if (a == null || b == null) return (a != null) - (b != null)
  return typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b))
}

// Facts as a list; what is nested is named with its path. If not `named` in words, names are those that programs read.
export function Facts({ caption, facts, named = false }) {
  const rows = [...flatten(facts)].map(([name, value]) => ({ name, value }))
  return html`<${Table} caption=${caption} filter=${false} rows=${rows} columns=${[
    { key: 'name', label: t('fact'), show: (name) => (named && knows(`fact_${name}`) ? t(`fact_${name}`) : html`<code>${visible(name)}</code>`) },
    { key: 'value', label: t('value'), show: (value, { name }) => fact(name, value) },
  ]} />`
}

function fact(name, value) {
  if (typeof value === 'number') return name.endsWith('bytes') ? size(value) : number(value, 3)
  if (typeof value === 'boolean') return t(value ? 'yes_word' : 'no')
  if (value === null || value === undefined) return '–'
  if (typeof value !== 'object') return inWords(say)(visible(String(value), 1_000))
  return Object.keys(value).length ? html`<code>${visible(JSON.stringify(value), 1_000)}</code>` : t('empty')
}

function* flatten(facts, prefix = '') {
  for (const [name, value] of Object.entries(facts ?? {})) {
    if (value && typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length) yield* flatten(value, `${prefix}${name}.`)
    else yield [`${prefix}${name}`, value]
  }
}

// The clock has no parts of a second: ticks between two seconds would all read alike.
const WHOLE_SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600]

// Lines over time. The canvas has a name and its last values as text: who cannot see it reads the same.
export function Chart({ label, times, series }) {
  const place = useRef(null)
  const chart = useRef(null)
  const names = series.map((one) => one.label).join()
  useEffect(() => {
    if (!place.current) return // the view was left before it was drawn
    const style = getComputedStyle(document.documentElement)
    const colour = (name) => style.getPropertyValue(name).trim()
    const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line') }, ticks: { stroke: colour('--line') }, font: '12px system-ui' }
    chart.current = new uPlot({
      width: place.current.clientWidth, height: 180, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high, 1)] } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(clock), space: 80, incrs: WHOLE_SECONDS }, { ...axis, values: (_, ticks) => ticks.map((tick) => number(tick, 1)), size: 60 }],
      series: [{}, ...series.map((one, at) => ({ stroke: colour(`--line-${at + 1}`), width: 2, points: { show: false } }))],
    }, [times, ...series.map((one) => one.values)], place.current)
    const grow = new ResizeObserver(([entry]) => chart.current?.setSize({ width: entry.contentRect.width, height: 180 }))
    grow.observe(place.current)
    return () => {
      grow.disconnect()
      chart.current?.destroy()
      chart.current = null
    }
  }, [names, document.documentElement.dataset.theme])
  useEffect(() => chart.current?.setData([times, ...series.map((one) => one.values)]), [times])
  const last = series.map((one) => `${one.label} ${number(one.values.at(-1), 1)}`).join(', ')
  return html`<figure class="chart"><figcaption>${label}</figcaption>
    <ul class="legend">${series.map((one, at) => html`<li><span class="swatch line-${at + 1}" aria-hidden="true"></span>${one.label}
      <strong>${number(one.values.at(-1), 1)}</strong></li>`)}</ul>
    <div ref=${place} role="img" aria-label=${`${label}: ${last}`}></div></figure>`
}

// Asks the server for its question, shows it, and does it only after a second yes.
export function useAction(after) {
  const [asked, setAsked] = useState(null)
  const [said, setSaid] = useState(null)
  async function begin(action, parameters, words) {
    setSaid(null)
    try {
      const found = await question(action, parameters)
      setAsked({ action, parameters, words, code: found.confirm })
    } catch (error) {
      setSaid({ tone: 'bad', text: error.message })
    }
  }
  async function finish(yes) {
    const { action, parameters, code } = asked
    setAsked(null)
    if (!yes) return
    try {
      const found = await confirm(action, parameters, code)
      const text = action === 'invalidate' && !found.confirmed ? t('not_confirmed') : t(`done_${action}`, { count: number(found.count) })
      setSaid({ tone: found.confirmed === false ? 'bad' : 'good', text })
      after?.()
    } catch (error) {
      setSaid({ tone: 'bad', text: error.message })
    }
  }
  const view = html`${asked && html`<${Question} words=${asked.words} answer=${finish} />`}
    <p class=${`notice ${said?.tone ?? ''}`} role="status">${said?.text ?? ''}</p>`
  return { begin, view }
}

function Question({ words, answer }) {
  const dialog = useRef(null)
  const no = useRef(null)
  useEffect(() => {
    dialog.current.showModal()
    no.current.focus() // the safe answer is the one that Enter gives
  }, [])
  return html`<dialog ref=${dialog} aria-labelledby="question" onCancel=${() => answer(false)}>
    <h2 id="question">${words}</h2>
    <p class="buttons"><button type="button" ref=${no} onClick=${() => answer(false)}>${t('no')}</button>
      <button type="button" class="danger" onClick=${() => answer(true)}>${t('yes')}</button></p></dialog>`
}

export function Field({ name, label, value, onInput, ...more }) {
  return html`<p class="field"><label for=${name}>${label}</label>
    <input id=${name} name=${name} value=${value ?? ''} autocomplete="off" spellcheck=${false} onInput=${onInput} ...${more} /></p>`
}
