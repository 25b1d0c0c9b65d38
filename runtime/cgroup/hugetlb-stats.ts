// Reads a cgroup's huge pages, by page size.
import fs from 'node:fs';
import type { Cgroup } from './cgroup.ts';
import { readFile } from './read-file.ts';

export interface HugetlbStats {
  /** "2MB" */
  readonly pageSize: string;
  readonly usageBytes: bigint;
  /** cgroup2 remembers no peak. */
  readonly maxUsageBytes?: bigint;
}

export async function readHugetlb({ unifiedDir, v1Dirs }: Cgroup): Promise<readonly HugetlbStats[]> {
  const directory = v1Dirs.hugetlb ?? unifiedDir;
  if (directory === undefined) return [];
  const usageFile = v1Dirs.hugetlb === undefined ? 'current' : 'usage_in_bytes';
  const names = await fs.promises.readdir(directory).catch(() => []);
  const sizes = names.flatMap((name) => new RegExp(`^hugetlb\\.(\\d+[KMG]B)\\.${usageFile}$`).exec(name)?.[1] ?? []);
  const found = await Promise.all(
    sizes.map(async (pageSize) => {
      const [usage, max] = await Promise.all([
        readFile(directory, `hugetlb.${pageSize}.${usageFile}`),
        readFile(v1Dirs.hugetlb, `hugetlb.${pageSize}.max_usage_in_bytes`),
      ]);
      if (usage === undefined) return [];
      return [{ pageSize, usageBytes: BigInt(usage.trim()), ...(max === undefined ? {} : { maxUsageBytes: BigInt(max.trim()) }) }];
    }),
  );
  return found.flat();
}
