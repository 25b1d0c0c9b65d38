// What a scheduler reads, known so that a typing error in it is found: a node acts on none of it. A table and nothing else.
import type { ObjectSchema } from './schema-object.ts';

export const schedulingObjects: Readonly<Record<string, ObjectSchema>> = {
  Affinity: { fields: { nodeAffinity: 'NodeAffinity', podAffinity: 'PodAffinity', podAntiAffinity: 'PodAntiAffinity' } },
  LabelSelector: { fields: { matchExpressions: '[]LabelSelectorRequirement', matchLabels: 'map[string]' } },
  LabelSelectorRequirement: { fields: { key: 'string', operator: 'string', values: '[]string' } },
  NodeAffinity: {
    fields: {
      preferredDuringSchedulingIgnoredDuringExecution: '[]PreferredSchedulingTerm',
      requiredDuringSchedulingIgnoredDuringExecution: 'NodeSelector',
    },
  },
  NodeSelector: { fields: { nodeSelectorTerms: '[]NodeSelectorTerm' } },
  NodeSelectorRequirement: { fields: { key: 'string', operator: 'string', values: '[]string' } },
  NodeSelectorTerm: { fields: { matchExpressions: '[]NodeSelectorRequirement', matchFields: '[]NodeSelectorRequirement' } },
  PodAffinity: {
    fields: {
      preferredDuringSchedulingIgnoredDuringExecution: '[]WeightedPodAffinityTerm',
      requiredDuringSchedulingIgnoredDuringExecution: '[]PodAffinityTerm',
    },
  },
  PodAffinityTerm: {
    fields: {
      labelSelector: 'LabelSelector',
      matchLabelKeys: '[]string',
      mismatchLabelKeys: '[]string',
      namespaceSelector: 'LabelSelector',
      namespaces: '[]string',
      topologyKey: 'string',
    },
  },
  PodAntiAffinity: {
    fields: {
      preferredDuringSchedulingIgnoredDuringExecution: '[]WeightedPodAffinityTerm',
      requiredDuringSchedulingIgnoredDuringExecution: '[]PodAffinityTerm',
    },
  },
  PreferredSchedulingTerm: { fields: { preference: 'NodeSelectorTerm', weight: 'int32' } },
  Toleration: { fields: { effect: 'string', key: 'string', operator: 'string', tolerationSeconds: 'int64', value: 'string' } },
  TopologySpreadConstraint: {
    fields: {
      labelSelector: 'LabelSelector',
      matchLabelKeys: '[]string',
      maxSkew: 'int32',
      minDomains: 'int32',
      nodeAffinityPolicy: 'string',
      nodeTaintsPolicy: 'string',
      topologyKey: 'string',
      whenUnsatisfiable: 'string',
    },
  },
  WeightedPodAffinityTerm: { fields: { podAffinityTerm: 'PodAffinityTerm', weight: 'int32' } },
};
