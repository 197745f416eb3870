import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

export interface Wheel {
  readonly name: string;
  readonly version: string;
  /** `py3-none-any`, or tags of a platform. */
  readonly tag?: string;
  /** Requirements of its own, as in `Requires-Dist`. */
  readonly requires?: readonly string[];
  /** Module files below the package's directory, besides `__init__.py`. */
  readonly files?: Readonly<Record<string, string>>;
  /** Console scripts, as `name = module:function`. */
  readonly scripts?: readonly string[];
}

const MAKE = `
import base64, hashlib, json, sys, zipfile
place, wheels = sys.argv[1], json.loads(sys.argv[2])
for wheel in wheels:
    name, version, tag = wheel["name"], wheel["version"], wheel.get("tag", "py3-none-any")
    module, meta = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    files = {f"{module}/__init__.py": f"version = {version!r}\\n"}
    files.update({f"{module}/{path}": text for path, text in wheel.get("files", {}).items()})
    files[f"{meta}/METADATA"] = "\\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"] + [f"Requires-Dist: {r}" for r in wheel.get("requires", [])]) + "\\n"
    files[f"{meta}/WHEEL"] = f"Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: {str(tag.endswith('any')).lower()}\\nTag: {tag}\\n"
    if wheel.get("scripts"):
        files[f"{meta}/entry_points.txt"] = "[console_scripts]\\n" + "\\n".join(wheel["scripts"]) + "\\n"
    hashed = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    record = "".join(f"{path},sha256={hashed(text)},{len(text.encode())}\\n" for path, text in files.items()) + f"{meta}/RECORD,,\\n"
    with zipfile.ZipFile(f"{place}/{module}-{version}-{tag}.whl", "w") as archive:
        for path, text in {**files, f"{meta}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
`;

/** Writes wheels (PEP 427) into a directory that pip can be pointed at. */
export function makeWheels(dir: string, wheels: readonly Wheel[]): string {
  mkdirSync(dir, { recursive: true });
  execFileSync('python3', ['-c', MAKE, dir, JSON.stringify(wheels)]);
  return dir;
}

/** The name of a wheel's file. */
export function wheelFile(dir: string, { name, version, tag = 'py3-none-any' }: Wheel): string {
  return join(dir, `${name.replaceAll('-', '_')}-${version}-${tag}.whl`);
}
