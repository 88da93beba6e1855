// Puts the chunks that a start needs into one file: Node's loader takes about half a millisecond for each file, and splitting makes thirty.
import fs from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'

/**
 * @param outdir folder of a finished build with splitting; its metafile
 * @param groups each becomes the file `name`, of the chunks of `roots` (source files that are imported dynamically) and all that these import statically.
 *   What an earlier group or an entry point has stays there. The chunks themselves become references to their group, for whoever else imports them.
 */
export async function mergeChunks(outdir, metafile, groups, options) {
  const outputs = new Map(Object.entries(metafile.outputs).map(([file, output]) => [path.basename(file), output]))
  const staticImports = (file) => (outputs.get(file)?.imports ?? []).filter(({ kind, external }) => kind === 'import-statement' && !external).map((each) => path.basename(each.path))
  const closure = (file, into) => {
    if (into.has(file)) return into
    into.add(file)
    for (const next of staticImports(file)) closure(next, into)
    return into
  }
  const chunkOf = (source) => [...outputs].find(([, { entryPoint }]) => entryPoint === source)?.[0]
  // What the program itself imports statically is loaded in any case.
  const taken = closure('mesovirt.js', new Set())
  /** chunk -> its group's file, and the prefix of its exports there */
  const places = new Map()
  const reference = (file) => {
    const { name, prefix } = places.get(file)
    const names = outputs.get(file).exports.map((each) => `${prefix}${each} as ${each}`)
    return `${names.length > 0 ? `export { ${names.join(', ')} } from` : 'import'} './${name}'\n`
  }
  for (const { name, roots } of groups) {
    const rootChunks = roots.map((root) => chunkOf(root)).filter((file) => file !== undefined)
    const files = [...new Set(rootChunks.flatMap((file) => [...closure(file, new Set())]))].filter((file) => !taken.has(file) && !places.has(file))
    const contents = [...files.map((file, index) => {
      const names = outputs.get(file).exports.map((each) => `${each} as m${index}_${each}`)
      return names.length > 0 ? `export { ${names.join(', ')} } from './${file}'` : `import './${file}'`
    }), ...rootChunks.filter((file) => files.includes(file)).map((file) => `export * from './${file}'`)].join('\n')
    const inGroup = new Set(files)
    const merge = {
      name: 'merge',
      setup({ onResolve, onLoad }) {
        onResolve({ filter: /^\.\// }, ({ path: wanted, kind }) => {
          const file = path.basename(wanted)
          if (kind === 'dynamic-import') return { path: wanted, external: true }
          if (places.has(file)) return { path: file, namespace: 'elsewhere' }
          return inGroup.has(file) ? { path: path.resolve(outdir, file) } : { path: wanted, external: true }
        })
        onLoad({ filter: /./, namespace: 'elsewhere' }, ({ path: file }) => ({ contents: reference(file), resolveDir: path.resolve(outdir) }))
      },
    }
    await build({ ...options, stdin: { contents, resolveDir: path.resolve(outdir) }, outfile: path.join(outdir, name), bundle: true, splitting: false, plugins: [merge], banner: {} })
    files.forEach((file, index) => places.set(file, { name, prefix: `m${index}_`, isRoot: rootChunks.includes(file) }))
  }
  for (const file of places.keys()) {
    fs.writeFileSync(path.join(outdir, file), reference(file))
    fs.rmSync(path.join(outdir, `${file}.map`), { force: true })
  }
  // Whoever imports a root dynamically goes straight to its group.
  for (const file of fs.readdirSync(outdir).filter((each) => each.endsWith('.js'))) {
    const text = fs.readFileSync(path.join(outdir, file), 'utf8')
    const direct = text.replace(/import\("\.\/([^"]+)"\)/g, (whole, target) => places.get(target)?.isRoot ? `import("./${places.get(target).name}")` : whole)
    if (direct !== text) fs.writeFileSync(path.join(outdir, file), direct)
  }
}
