// The fields of a v1 Pod as of Kubernetes 1.35-1.37, by object: type, and what tskubelet does with each. decode.ts walks the tables. A field
// that is in none of the three lists of its object is unknown.
import { containerObjects } from './schema-container.ts';
import type { ObjectSchema } from './schema-object.ts';
import { podObjects as pods } from './schema-pod.ts';
import { schedulingObjects } from './schema-scheduling.ts';
import { volumeObjects } from './schema-volume.ts';

export const podObjects: Readonly<Record<string, ObjectSchema>> = { ...pods, ...containerObjects, ...volumeObjects, ...schedulingObjects };
