import tseslint from 'typescript-eslint'
import importX from 'eslint-plugin-import-x'

/** Imports point downwards only (docs/ARCHITECTURE.md). Each folder may import the folders listed for it, and itself. */
const MAY_IMPORT = {
  'host': [],
  'address-space': ['host'],
  'hypervisor': ['address-space', 'host'],
  'device-model': ['address-space', 'host'],
  'boot-loader': ['address-space', 'host'],
  'machine': ['boot-loader', 'device-model', 'hypervisor', 'address-space', 'host'],
  'machine-manager': ['machine', 'boot-loader', 'device-model', 'hypervisor', 'address-space', 'host'],
  'src': ['machine-manager', 'machine', 'boot-loader', 'device-model', 'hypervisor', 'address-space', 'host'],
}
const FOLDERS = Object.keys(MAY_IMPORT)
const zones = FOLDERS.flatMap((target) =>
  FOLDERS.filter((from) => from !== target && !MAY_IMPORT[target].includes(from)).map((from) => ({
    target: `./${target}`,
    from: `./${from}`,
    message: `${target}/ must not import ${from}/: imports point downwards only (docs/ARCHITECTURE.md)`,
  })))

export default tseslint.config(
  { ignores: ['node_modules/', 'dist/', '.cache/', 'coverage/', 'hypervisor/tcg/core/*.ts'] },
  ...tseslint.configs.recommended,
  {
    plugins: { 'import-x': importX },
    settings: { 'import-x/resolver': { node: { extensions: ['.ts', '.js', '.mjs'] } } },
    rules: {
      'import-x/no-restricted-paths': ['error', { zones }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-constant-condition': 'off',
      'no-restricted-imports': ['error', { paths: [{ name: 'koffi', message: 'only host/ and hypervisor/kvm know koffi' }] }],
    },
  },
  { files: ['host/**', 'hypervisor/kvm/**', 'test/vectors/**'], rules: { 'no-restricted-imports': 'off' } },
)
