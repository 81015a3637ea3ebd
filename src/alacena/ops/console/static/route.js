// Where the reader is: the part of the address after #, so that every filtered view is a link.

export function here() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?')
  return { view: path || 'health', parameters: Object.fromEntries(new URLSearchParams(query)) }
}

export function go(view, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value)
  location.hash = `#/${view}${given.length ? `?${new URLSearchParams(given)}` : ''}`
}
