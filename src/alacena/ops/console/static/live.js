// Data that asks again while somebody looks: it pauses when the page is hidden, and says when nothing arrives.

import { useEffect, useRef, useState } from './vendor/parts.js'
import { ask } from './api.js'

const EVERY_MS = 2_000
const SILENT_MS = 8_000

let paused = false
const listeners = new Set()
export const isPaused = () => paused
export function pause(value) {
  paused = value
  for (const listener of listeners) listener()
}

export function usePaused() {
  const [, redraw] = useState(0)
  useEffect(() => {
    const listener = () => redraw((count) => count + 1)
    listeners.add(listener)
    document.addEventListener('visibilitychange', listener)
    return () => {
      listeners.delete(listener)
      document.removeEventListener('visibilitychange', listener)
    }
  }, [])
  return { paused, hidden: document.hidden }
}

// Returns { data, error, silent }: the last answer stays while a newer one is awaited or fails.
export function useLive(view, parameters = {}, { everyMs = EVERY_MS, on = true } = {}) {
  const [state, setState] = useState({ data: null, error: null, at: null, silent: false })
  const stopped = usePaused()
  const asked = JSON.stringify([view, parameters])
  const last = useRef(asked)
  useEffect(() => {
    let timer = null
    let ended = false
    if (last.current !== asked) {
      last.current = asked
      setState({ data: null, error: null, at: null, silent: false })
    }
    async function turn() {
      const began = Date.now()
      try {
        const data = await ask(view, parameters)
        if (!ended) setState({ data, error: null, at: Date.now(), silent: false })
      } catch (error) {
        if (!ended) {
          setState((old) => ({ ...old, error, since: old.at ?? began, silent: Date.now() - (old.at ?? began) > SILENT_MS }))
        }
      }
      // The next question waits for the answer to this one: a slow server is not asked more often than it answers.
      if (!ended && !paused) timer = setTimeout(turn, everyMs)
    }
    if (on && !stopped.hidden && (!stopped.paused || state.data === null)) turn()
    return () => {
      ended = true
      clearTimeout(timer)
    }
  }, [asked, everyMs, on, stopped.paused, stopped.hidden])
  return state
}
