/** Go's loader, with an object in the place of the global one. */
export function loader(scope: object): new () => { importObject: WebAssembly.Imports; run(instance: WebAssembly.Instance): Promise<void> }
