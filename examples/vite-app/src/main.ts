import { LayerLeap } from "layerleap";

const prompt = "Once upon a time";
const model = await LayerLeap.load("/models/stories260k-layerskip/"); // a folder in Hugging Face's layout
document.body.append(prompt);
for await (const part of model.generate(prompt, { maxTokens: 200 })) document.body.append(part.text); // continues it
await model.dispose();
