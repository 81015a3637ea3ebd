// All that the console's page imports, as one module.
export { h, render } from 'preact'
export { useEffect, useMemo, useRef, useState } from 'preact/hooks'
export { default as htm } from 'htm'
export { default as uPlot } from 'uplot'
